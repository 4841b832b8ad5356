"""Columns of numbers to standard normals by their own quantiles, and back: any marginal, atoms and bounds included.

A value that the data repeat stands for an interval of probability, in which its place is drawn; so a column of whole
numbers, or one that is 0 nine times in ten, becomes exactly normal too, and every normal number leads back to a value
of the column (the randomised probability integral transform).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.numerics.random import Draws

KNOTS = 1001
"""Quantiles that are kept of each column."""
_EDGE = 1e-6
"""Probability beyond which no normal number is looked for: |z| < 4.8."""


def knots_of(x: Tensor) -> Tensor:
    """The quantiles of columns x (N, D): float64 (D, KNOTS), values of the data themselves."""
    at = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
    return torch.quantile(x.double(), at, dim=0, interpolation="nearest").T.contiguous()


def to_normal(x: Tensor, knots: Tensor, draws: Draws) -> Tensor:
    """Values (B, D) -> standard normal where they have the law of the knots: float32 (B, D)."""
    values = x.double().T.contiguous()
    left = torch.searchsorted(knots, values)
    right = torch.searchsorted(knots, values, right=True)
    low, high = (knots.gather(1, (left + i).clamp(0, KNOTS - 1)) for i in (-1, 0))
    between = left - 1 + (values - low) / (high - low).clamp(min=1e-300)
    inside = left + (right - 1 - left).clamp(min=0) * draws.uniform((len(knots),), torch.float64).T
    rank = torch.where(right > left, inside, between) / (KNOTS - 1)
    return torch.special.ndtri(rank.clamp(_EDGE, 1 - _EDGE)).T.to(torch.float32)


def from_normal(z: Tensor, knots: Tensor) -> Tensor:
    """Normal numbers (B, D) -> values of the columns, float64: between neighbouring quantiles along a line."""
    rank = torch.special.ndtr(z.double()).T * (KNOTS - 1)
    below = rank.floor().long().clamp(0, KNOTS - 2)
    low, high = knots.gather(1, below), knots.gather(1, below + 1)
    return torch.lerp(low, high, (rank - below).clamp(0, 1)).T
