"""What generators and discriminators share: one item in, no normalisation between items or within them.

Normalisation layers are left out on purpose: penalties on the slope of a discriminator do their work, and a layer that
mixes the items of a batch would make the slope of one item depend on the others (Huang et al. 2024).
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.networks.layers import scaled

SLOPE = 0.2
"""Of the leaky rectifier on negative values."""

M = TypeVar("M", nn.Conv2d, nn.Linear)


def activation(x: Tensor) -> Tensor:
    """x where it is positive, else 0.2 x."""
    return functional.leaky_relu(x, SLOPE)


def initialised(layer: M) -> M:
    """The layer with weights that keep the variance through the leaky rectifier (He et al. 2015), bias at zero."""
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    return scaled(layer, 1.0)


def linear(layer: M) -> M:
    """The layer with weights that keep the variance where no rectifier follows, bias at zero."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return scaled(layer, 1.0)


class ClassInput(nn.Module):
    """z (B, latent) and, where there are classes, a learned vector of each label (B,), side by side."""

    def __init__(self, latent: int, num_classes: int | None, width: int | None = None) -> None:
        super().__init__()
        self.label = nn.Embedding(num_classes, latent if width is None else width) if num_classes else None
        self.features = latent + (self.label.embedding_dim if self.label is not None else 0)

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        return z if self.label is None or label is None else torch.cat((z, self.label(label)), 1)


class Projection(nn.Module):
    """ψ(h) + ⟨e_label, h⟩/√width for features h (B, width): the projection of Miyato & Koyama 2018."""

    def __init__(self, width: int, num_classes: int | None) -> None:
        super().__init__()
        self.value = linear(nn.Linear(width, 1))
        self.label = nn.Embedding(num_classes, width) if num_classes else None
        self.scale = 1 / math.sqrt(width)

    def forward(self, h: Tensor, label: Tensor | None) -> Tensor:
        value = self.value(h)[:, 0]
        return value if self.label is None or label is None else value + self.scale * (self.label(label) * h).sum(1)


class Block(nn.Module):
    """h + W₂ act(W₁ act h) with 3×3 convolutions; the branch is zero at initialisation, so depth changes no scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = initialised(nn.Conv2d(width, width, 3, padding=1))
        self.outer = scaled(nn.Conv2d(width, width, 3, padding=1), 0.0)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.outer(activation(self.inner(activation(h))))


def sizes(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Sides of an image at each level, the full one first, each half of the one before, rounded up.

    >>> sizes(28, 10, 3)
    [(28, 10), (14, 5), (7, 3)]
    """
    found = [(height, width)]
    for _ in range(levels - 1):
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found


def usual_multipliers(height: int, width: int) -> tuple[int, ...]:
    """Widths of the levels of an image down to about 4 × 4: one, then twice as much, never more than four times.

    >>> usual_multipliers(8, 8), usual_multipliers(32, 32)
    ((1, 2), (1, 2, 4, 4))
    """
    levels = 1 + max(0, math.ceil(math.log2(max(min(height, width), 4) / 4)))
    return tuple(min(4, 2**level) for level in range(levels))
