"""How much each level of noise says of the energy of x: uniform, as published, or as the evidence bound has it.

F(x) = Σ_k w_k E‖z − ẑ(α_k x + σ_k z)‖². With λ = log(α/σ) the bound is −log p(x) ≤ ∫ E‖z − ẑ‖² dλ + const (Kingma et
al. 2021, eq. 15 in other letters): squared errors of the noise weigh alike on the axis of λ, whatever the path. Times
weighed alike are another energy: for data N(0, 0.3) and a linear variance-preserving path its curvature is 0.224 x²,
where −log p is 1.667 x².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import finite_ends

Weighting = Callable[[Tensor, Tensor, int], Tensor]
"""(edges of K cells in λ, the same edges as times, coordinates of an item) -> what a cell weighs: float64 (K,)."""


def uniform(log_ratios: Tensor, times: Tensor, size: int) -> Tensor:
    """All times alike, the errors of all coordinates added up; together 1."""
    return (times[:-1] - times[1:]) / (times[0] - times[-1])


def published(log_ratios: Tensor, times: Tensor, size: int) -> Tensor:
    """All times alike, and the mean over coordinates: what the code of Graikos et al. (2022) descends."""
    return uniform(log_ratios, times, size) / size


def elbo(log_ratios: Tensor, times: Tensor, size: int) -> Tensor:
    """dλ: the energy is then the evidence bound of −log p, in nats."""
    return log_ratios[1:] - log_ratios[:-1]


@dataclass(frozen=True, eq=False)
class Cells:
    """The levels of a path cut into K cells even in λ, from noise to data, each with its weight."""

    path: GaussianPath
    log_ratios: Tensor
    weights: Tensor

    @staticmethod
    def of(path: GaussianPath, weighting: Weighting, size: int, count: int = 1024) -> Cells:
        """Raises UserError for weights that are negative, not finite, or all zero."""
        first, last = finite_ends(path)
        edges = torch.linspace(first, last, count + 1, dtype=torch.float64)
        weights = weighting(edges, path.time(edges), size)
        if not bool((weights >= 0).all()) or not 0 < float(weights.sum()) < float("inf"):
            raise UserError("the weights of an energy must be finite numbers of at least 0, not all of them 0")
        return Cells(path, edges, weights)

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self.weights.sum())

    def draw(self, draws: Draws) -> Level:
        """One level per item, drawn in proportion to the weights: times (B,)."""
        u = draws.uniform((2,), torch.float64)
        sums = self.weights.cumsum(0).to(u.device)
        cell = torch.searchsorted(sums, u[:, 0] * sums[-1], right=True).clamp(max=len(sums) - 1)
        edges = self.log_ratios.to(u.device)
        return self.path.level(self.path.time(edges[cell] + u[:, 1] * (edges[cell + 1] - edges[cell])))

    def middles(self) -> tuple[Level, ...]:
        """The level in the middle of each cell."""
        return self.path.levels(self.path.time((self.log_ratios[1:] + self.log_ratios[:-1]) / 2))
