"""Layers that keep the size of what passes through them (Karras et al. 2024): no normalisation of activations needed.

A map of unit variance stays one through every layer at initialisation and, as weights are of unit length whatever the
optimiser does to them, stays so in training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_OFF = 0.01


def normalised(weight: Tensor, eps: float = 1e-4) -> Tensor:
    """Each output's weights divided by their root mean square: (out, …)."""
    dims = list(range(1, weight.ndim))
    size = torch.linalg.vector_norm(weight, dim=dims, keepdim=True)
    return weight / (size / math.sqrt(weight[0].numel()) + eps)


class Kept(nn.Module):
    """A linear layer or convolution without bias whose weights have unit length, times a gain.

    In training stored weights that have left that length by a percent are put back to it first, so that a step means
    the same throughout.

    Args:
        kernel: sides of the kernel, () for a linear layer.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(outputs, inputs, *kernel)))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        if self.training:
            with torch.no_grad():
                size = self.weight.flatten(1).square().mean(1).sqrt()
                off = ((size - 1).abs() > _OFF).reshape(-1, *(1,) * (self.weight.ndim - 1))
                self.weight.copy_(torch.where(off, normalised(self.weight), self.weight))
        weight = normalised(self.weight) * (gain / math.sqrt(self.weight[0].numel()))
        weight = weight.to(x.dtype)
        if not self.kernel:
            return functional.linear(x, weight)
        convolve = functional.conv1d if len(self.kernel) == 1 else functional.conv2d
        return convolve(x, weight, padding=self.kernel[0] // 2)


def silu(x: Tensor) -> Tensor:
    """silu over its deviation for standard normal x, 0.596."""
    return functional.silu(x) / 0.596


def mixed(a: Tensor, b: Tensor, share: float = 0.3) -> Tensor:
    """((1 − t) a + t b)/√((1 − t)² + t²): of unit variance where a and b are, and independent."""
    return a.lerp(b, share) / math.hypot(1 - share, share)


def beside(a: Tensor, b: Tensor) -> Tensor:
    """Channels of a and b, weighed so that both count alike whatever their numbers: (B, N_a + N_b, …)."""
    one, other = a.shape[1], b.shape[1]
    half = math.sqrt((one + other) / 2)
    return torch.cat((a * (half / math.sqrt(one)), b * (half / math.sqrt(other))), 1)


def unit(x: Tensor, eps: float = 1e-4) -> Tensor:
    """Each place's channels divided by their root mean square: (B, C, …)."""
    exact = torch.promote_types(x.dtype, torch.float32)
    size = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=exact) / math.sqrt(x.shape[1])
    return x / (size + eps).to(x.dtype)
