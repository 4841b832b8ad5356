"""Runge–Kutta in t on the probability flow dx/dt = α′ E[x_0 | x_t] + σ′ E[z | x_t]: the samplers of flow matching.

The velocity divides by nothing, so these steps start at α = 0, the noise end of the straight path.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True, slots=True)
class Slope:
    """The velocity at a level, as rates of the mean and of the noise."""

    level: Level
    mean: float
    noise: float

    def __call__(self, denoiser: Denoiser, x: Tensor) -> Tensor:
        return denoiser.estimate(x, self.level).read(self.mean, self.noise)


@dataclass(frozen=True, slots=True)
class FlowMove:
    first: Slope
    second: Slope | None
    to_second: float  # time from t to the second stage
    by_first: float  # time spent at each slope
    by_second: float
    denoise: bool
    random: bool = False

    @property
    def evaluations(self) -> int:
        return 1 if self.second is None else 2


@dataclass(frozen=True)
class FlowRungeKutta:
    """x_s = x_t + h[(1 − b) v(x_t, t) + b v(x_t + c h v(x_t, t), t + c h)], h = s − t (Lipman et al. 2023; Butcher).

    b = 0 is Euler: order 1, one evaluation per step; 2bc = 1 gives order 2 with two. Into clean data, where t measures
    nothing, the step returns E[x_0 | x_t] for one evaluation.
    """

    c: float = 1.0
    b: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.c <= 1:
            raise UserError(f"the second stage of a Runge-Kutta step lies at c in (0, 1]; got {self.c}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[FlowMove]:
        seconds = [
            s if self.c == 1 or s.sigma == 0 else path.level(t.t + self.c * (s.t - t.t))
            for t, s in itertools.pairwise(levels)
        ]
        slopes = zip(_slopes(path, levels[:-1]), _slopes(path, seconds), strict=True)
        return [self._move(t, s, *both) for (t, s), both in zip(itertools.pairwise(levels), slopes, strict=True)]

    def _move(self, t: Level, s: Level, first: Slope, second: Slope) -> FlowMove:
        gap = s.t - t.t
        if s.sigma == 0:
            return FlowMove(first, None, 0.0, 0.0, 0.0, True)
        if self.b == 0:
            return FlowMove(first, None, 0.0, gap, 0.0, False)
        return FlowMove(first, second, self.c * gap, (1 - self.b) * gap, self.b * gap, False)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: FlowMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        if move.denoise:
            return denoiser.estimate(x, move.first.level).mean, None
        first = move.first(denoiser, x)
        moved = torch.add(x, first, alpha=move.by_first)
        if move.second is None:
            return moved, None
        second = move.second(denoiser, torch.add(x, first, alpha=move.to_second))
        return torch.add(moved, second, alpha=move.by_second), None


def _slopes(path: GaussianPath, levels: Sequence[Level]) -> list[Slope]:
    alpha_rates, sigma_rates = path.rates(torch.tensor([level.t for level in levels], dtype=torch.float64))
    return list(map(Slope, levels, alpha_rates.tolist(), sigma_rates.tolist()))


FlowEuler = FlowRungeKutta(b=0.0)
"""Euler in t: one evaluation per step, order 1."""
FlowMidpoint = FlowRungeKutta(c=0.5, b=1.0)
"""The midpoint rule in t: two evaluations per step, order 2."""
FlowHeun = FlowRungeKutta(c=1.0, b=0.5)
"""Heun's rule, the trapezoid, in t: two evaluations per step, order 2."""
