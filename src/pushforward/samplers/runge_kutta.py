"""Heun's method in σ/α, with the churn of EDM (Karras et al. 2022, algorithms 1 and 2), on any path.

In the coordinates x/α and ρ = σ/α the probability flow is d(x/α)/dρ = E[z | x], whatever the path.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True)
class Churn:
    """Fresh noise before each step, for ρ in [low, high]: σ grows by γ = min(amount/n, √2 − 1), never past t_max."""

    amount: float = 0.0
    low: float = 0.0
    high: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not (self.amount >= 0 and 0 <= self.low < self.high and self.noise > 0):
            raise UserError(
                f"churn needs amount ≥ 0, 0 ≤ low < high in σ/α and noise > 0; got {self.amount}, {self.low}, "
                f"{self.high} and {self.noise}"
            )


@dataclass(frozen=True, slots=True)
class HeunMove:
    level: Level  # after churn
    next: Level
    scale: float  # churn: x ← scale·x + spread·z
    spread: float
    carry: float  # x_s = carry·x + slope·(average noise)
    slope: float
    correct: bool
    random: bool

    @property
    def evaluations(self) -> int:
        return 2 if self.correct else 1


@dataclass(frozen=True)
class Heun:
    """x_s = (α_s/α_t) x + α_s (ρ_s − ρ_t)(noise_t + noise_s)/2 with ρ = σ/α (Karras et al. 2022, algorithms 1 and 2).

    Second order, two evaluations per step, one on a last step into σ = 0.
    """

    churn: Churn = Churn()

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[HeunMove]:
        return [self._move(path, t, s, len(levels) - 1) for t, s in itertools.pairwise(levels)]

    def _move(self, path: GaussianPath, t: Level, s: Level, steps: int) -> HeunMove:
        if t.alpha == 0:
            raise UserError("Heun in σ/α needs α > 0 at every level; this grid starts at α = 0: use a multistep solver")
        high = self._raised(path, t, steps)
        scale = high.alpha / t.alpha
        spread = max(high.sigma**2 - (scale * t.sigma) ** 2, 0.0) ** 0.5 * self.churn.noise
        slope = s.alpha * (s.ratio - high.ratio)
        return HeunMove(high, s, scale, spread, s.alpha / high.alpha, slope, s.sigma > 0, spread > 0)

    def _raised(self, path: GaussianPath, t: Level, steps: int) -> Level:
        """The level after churn, found on the path by its σ/α."""
        rule = self.churn
        gamma = min(rule.amount / steps, math.sqrt(2) - 1) if rule.low <= t.ratio <= rule.high else 0.0
        top = path.level(path.t_max)
        if gamma == 0.0 or t.ratio >= top.ratio:
            return t
        target = min(t.ratio * (1 + gamma), top.ratio)
        return path.level(float(path.time(torch.tensor(-math.log(target), dtype=torch.float64))))

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: HeunMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        if move.random:
            x = move.scale * x + move.spread * draws.normal_like(x)
        first = denoiser.estimate(x, move.level).noise
        moved = torch.add(x * move.carry, first, alpha=move.slope)
        if move.correct:
            second = denoiser.estimate(moved, move.next).noise
            moved = torch.add(x * move.carry, (first + second) / 2, alpha=move.slope)
        return moved, None
