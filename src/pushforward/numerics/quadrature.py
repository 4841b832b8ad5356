"""Integrals of a known weight times an interpolated function: the coefficients of every multistep method."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


class Weight(Protocol):
    """A known factor w(t) of a velocity w(t) f(t, y), integrated exactly where the method can."""

    def density(self, t: Tensor) -> Tensor:
        """w(t), float64, the shape of t."""
        ...

    def total(self, start: float, stop: float) -> float:
        """∫ w dt in closed form."""
        ...


class Unit:
    """w = 1: an ordinary velocity."""

    def density(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def total(self, start: float, stop: float) -> float:
        return stop - start


def interpolation_weights(
    nodes: Sequence[float],
    density: Callable[[np.ndarray], np.ndarray],
    start: float,
    stop: float,
    total: float,
) -> tuple[float, ...]:
    """∫ density(t) ℓ_j(t) dt over [start, stop] for the Lagrange polynomials ℓ_j of distinct nodes.

    `total` is ∫ density dt: the first weight makes the sum equal to it, so a constant is integrated exactly.
    """
    if len(nodes) == 1:
        return (total,)
    half = (stop - start) / 2
    points = start + half * (_NODES + 1)
    mass = half * _WEIGHTS * density(points)
    others = []
    for j in range(1, len(nodes)):
        rest = [nodes[i] for i in range(len(nodes)) if i != j]
        others.append(float(mass @ np.prod([(points - r) / (nodes[j] - r) for r in rest], axis=0)))
    return (total - math.fsum(others), *others)
