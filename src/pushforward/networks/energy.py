"""Networks whose output is one number per item, Φ(x, time, label), and the field that is its gradient.

Φ = ⟨x, G(x, time, label)⟩ with any network G of the shape of x (Thiry & Guth 2024): ∇Φ = G + (∂G/∂x)ᵀx has the power of
G, which a network that is pooled to one number lacks. Everything in G must be smooth, since training differentiates
∇Φ, and sliced and explicit score matching its Jacobian: silu and normalisation are, relu is not, fused attention has no
second derivative, and the third ones of torch's LayerNorm are wrong (torch 2.13), so it is replaced here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.networks.mlp import MLP
from pushforward.networks.unet import UNet
from pushforward.numerics.broadcast import sum_per_sample


class PlainLayerNorm(nn.Module):
    """What torch's LayerNorm computes, made of operations that may be differentiated any number of times."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.axes, self.eps = tuple(range(-len(norm.normalized_shape), 0)), norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(self.axes, keepdim=True)
        normal = centred * (centred.square().mean(self.axes, keepdim=True) + self.eps).rsqrt()
        scaled = normal if self.weight is None else normal * self.weight
        return scaled if self.bias is None else scaled + self.bias


def differentiable(network: nn.Module) -> nn.Module:
    """The network with every LayerNorm in it replaced, in place, by one whose third derivatives are right."""
    if isinstance(network, nn.LayerNorm):
        return PlainLayerNorm(network)
    for name, child in network.named_children():
        setattr(network, name, differentiable(child))
    return network


class InnerProduct(nn.Module):
    """Φ(x, time, label) = ⟨x, G(x, time, label)⟩: (B, …) -> (B,). Zero at initialisation where G is.

    Takes the network over: its LayerNorms are replaced (`differentiable`), which changes no value and no name.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = differentiable(network)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        output = self.network(x, time, **({} if label is None else {"label": label}))
        if output.shape != x.shape:
            raise UserError(
                f"an energy ⟨x, G(x)⟩ needs a network whose output has the shape of its input, {tuple(x.shape)}; "
                f"this gave {tuple(output.shape)}"
            )
        return sum_per_sample(x * output)


class Fading(nn.Module):
    """Φ(x, time, label) · r/√(r² + knee²) with r = σ/α = e^{4 time}, the time that denoisers give their networks.

    Where a density is smooth on the scale of the noise, the field that EDM prediction asks for falls like σ, and its
    error is divided by σ to make a score. Faded so, what is left to learn hardly depends on σ below the knee, which
    is in units of the data; on a mixture in the plane the divergence from the truth became ten times smaller.
    """

    def __init__(self, potential: nn.Module, knee: float) -> None:
        super().__init__()
        if not knee >= 0:
            raise UserError(f"the knee of a fading potential is a noise level, 0 for none; got {knee}")
        self.potential, self.knee = potential, knee

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        ratio = torch.exp(4 * time)
        fade = ratio / (ratio.square() + self.knee**2).sqrt()
        return self.potential(x, time, label) * fade.to(x.dtype)


class Gradient(nn.Module):
    """F(x, time, label) = ∇_x Φ(x, time, label): (B, …) -> (B, …), so that a potential serves wherever a network does.

    Differentiable by parameters and x where gradients are on; where they are off only what is needed is kept.
    """

    def __init__(self, potential: nn.Module) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        keep = torch.is_grad_enabled()
        # Samplers turn gradients off, or run in inference mode, whose tensors no derivative may go through: copies may.
        with torch.inference_mode(False), torch.enable_grad():
            at = x if keep and x.requires_grad else x.detach().clone().requires_grad_()
            given = [value if value is None or not value.is_inference() else value.clone() for value in (time, label)]
            value = self.potential(at, *given)
            field = torch.autograd.grad(value.sum(), at, create_graph=keep)[0]
        return field if keep else field.detach()


def vector_potential(
    features: int, width: int = 128, depth: int = 3, num_classes: int | None = None, knee: float = 0.3
) -> Fading:
    """Φ for vectors (B, features), with a residual perceptron as G."""
    return Fading(InnerProduct(MLP(features, width, depth, num_classes)), knee)


def image_potential(
    channels: int,
    width: int = 32,
    multipliers: Sequence[int] = (1, 2),
    blocks: int = 1,
    num_classes: int | None = None,
    knee: float = 0.1,
) -> Fading:
    """Φ for images (B, channels, H, W), with a U-Net without attention as G."""
    return Fading(InnerProduct(UNet(channels, width, multipliers, blocks, (), num_classes)), knee)
