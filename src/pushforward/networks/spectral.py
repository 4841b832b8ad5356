"""Spectral normalisation (Miyato et al. 2018): weights divided by their largest singular value."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError

_FIRST = 15  # power iterations at the start; afterwards one per pass keeps up with the weights


class Spectral(nn.Module):
    """A linear or convolutional layer with the weight W/σ(W), σ of W read as a matrix (out, everything else).

    σ ≈ uᵀWv; one power iteration per pass in training mode keeps u near the first left singular vector. u is a buffer:
    it is stored, and stands still in evaluation mode. The bias is as it is.
    Raises UserError for any other layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            raise UserError(f"Spectral normalisation is for Linear and Conv2d layers; got {type(layer).__name__}.")
        self.layer = layer
        first = nn.init.normal_(layer.weight.new_empty(len(layer.weight)))
        self.register_buffer("u", functional.normalize(first.detach(), dim=0))
        for _ in range(_FIRST):
            self._iterate()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # singular values of a few digits would not do
            if self.training:
                self._iterate()
            weight = self.normalised()
        layer = self.layer
        if isinstance(layer, nn.Conv2d):
            return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return functional.linear(x, weight, layer.bias)

    def normalised(self) -> Tensor:
        """W/σ(W), differentiable in W with u and v held."""
        matrix, u = self.layer.weight.flatten(1), self.get_buffer("u")
        with torch.no_grad():
            v = functional.normalize(u @ matrix, dim=0)
        return self.layer.weight / torch.dot(u, matrix @ v)

    @torch.no_grad()
    def _iterate(self) -> None:
        matrix, u = self.layer.weight.flatten(1), self.get_buffer("u")
        # A new tensor and not a write into the old one: an earlier pass may still need it for its gradients.
        self.u = functional.normalize(matrix @ functional.normalize(u @ matrix, dim=0), dim=0)


def normalise_spectra(network: nn.Module) -> nn.Module:
    """The network with each of its linear and convolutional layers made `Spectral`, in place."""
    for name, child in network.named_children():
        if isinstance(child, (nn.Linear, nn.Conv2d)):
            setattr(network, name, Spectral(child))
        elif not isinstance(child, Spectral):
            normalise_spectra(child)
    return network
