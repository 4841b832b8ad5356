"""A distance between pictures in the features of a network that the user gives (Zhang et al. 2018); none is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

Features = Callable[[Tensor], Tensor | Sequence[Tensor]]
"""Pictures (B, C, H, W) to feature maps, one tensor (B, c, …) or several layers of them."""


class Perceptual:
    """Σ over layers of the mean over places of ‖φ(x)/‖φ(x)‖ − φ(y)/‖φ(y)‖‖²: (B,).

    Of a network a frozen copy is taken, so that training neither changes it nor fills its gradients. It is no part of
    what is stored.
    """

    def __init__(self, features: Features) -> None:
        self.features = deepcopy(features).eval().requires_grad_(False) if isinstance(features, nn.Module) else features

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.features, nn.Module):
            self.features.to(x.device)
        total = x.new_zeros(len(x))
        for one, other in zip(self._layers(x), self._layers(y), strict=True):
            difference = (_unit(one) - _unit(other)).square().sum(1)
            total = total + difference.reshape(len(x), -1).mean(1)
        return total

    def _layers(self, x: Tensor) -> Sequence[Tensor]:
        found = self.features(x)
        return [found] if isinstance(found, Tensor) else found


def _unit(features: Tensor) -> Tensor:
    return features / torch.sqrt(features.square().sum(1, keepdim=True) + 1e-10)
