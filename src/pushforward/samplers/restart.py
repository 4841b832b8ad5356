"""Restart sampling (Xu et al. 2023): within a deterministic run, climb back to more noise and come down again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import check_steps
from pushforward.samplers.step import Step, inner_draws, move_is_random


@dataclass(frozen=True, slots=True)
class RestartMove:
    """One move of the run; where it reaches `low`, the way down from `high` and how often it is gone."""

    inner: Any
    down: tuple[Any, ...] = ()
    times: int = 0
    scale: float = 1.0
    spread: float = 0.0

    @property
    def evaluations(self) -> int | None:
        counts = [self.inner.evaluations, *(move.evaluations for move in self.down)]
        return None if None in counts else counts[0] + self.times * sum(counts[1:])

    @property
    def random(self) -> bool:
        return self.times > 0 or move_is_random(self.inner)


@dataclass(frozen=True)
class Restart:
    """`step`, and once it reaches ρ = σ/α ≈ `low`: K times up to `high` by the forward process and down in n steps.

    The grid point nearest to `low` is used; the way down is laid by Karras et al. (2022), exponent ρ = 7. The run
    costs K·n more steps; its noise contracts the error made so far, which no deterministic solver does.
    """

    step: Step
    low: float = 0.06
    high: float = 0.3
    times: int = 1
    steps: int = 4

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if not (0 < self.low < self.high and self.times >= 0):
            raise UserError(f"a restart climbs from low to a higher σ/α; got low = {self.low}, high = {self.high}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[RestartMove]:
        candidates = [i for i in range(1, len(levels)) if levels[i].sigma > 0]
        if not candidates or self.times == 0:
            return [RestartMove(move) for move in self.step.plan(path, levels)]
        at = min(candidates, key=lambda i: abs(levels[i].ratio - self.low))
        low, high = levels[at], _level_of_ratio(path, self.high)
        if not high.ratio > low.ratio:
            raise UserError(
                f"the restart climbs to σ/α = {self.high:g}, but the grid point nearest to {self.low:g} is at "
                f"{low.ratio:g} already: use more steps or a higher restart"
            )
        # History ends at a restart: each part is planned, and run, as if it began there.
        before = self.step.plan(path, levels[: at + 1])
        after = self.step.plan(path, levels[at:]) if at + 1 < len(levels) else ()
        down = tuple(self.step.plan(path, _down(path, high, low, self.steps)))
        scale = high.alpha / low.alpha
        spread = (high.sigma**2 - (scale * low.sigma) ** 2) ** 0.5
        return [
            *(RestartMove(move) for move in before[:-1]),
            RestartMove(before[-1], down, self.times, scale, spread),
            *(RestartMove(move) for move in after),
        ]

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: RestartMove, memory: Any, draws: Draws, /
    ) -> tuple[Tensor, Any]:
        x, memory = self.step(denoiser, x, move.inner, memory, inner_draws(draws, move.inner, "step"))
        for k in range(move.times):
            x = torch.add(move.scale * x, draws.at(k, "up").normal_like(x), alpha=move.spread)
            memory = None
            for i, part in enumerate(move.down):
                x, memory = self.step(denoiser, x, part, memory, inner_draws(draws, part, k, i))
        return x, (None if move.times else memory)


def _level_of_ratio(path: GaussianPath, ratio: float) -> Level:
    return path.level(float(path.time(-torch.log(torch.tensor(ratio, dtype=torch.float64)))))


def _down(path: GaussianPath, high: Level, low: Level, steps: int) -> tuple[Level, ...]:
    """n + 1 levels from high to low, uniform in ρ^{1/7}, ending on the grid's own level."""
    ramp = torch.linspace(high.ratio ** (1 / 7), low.ratio ** (1 / 7), steps + 1, dtype=torch.float64) ** 7
    return (high, *path.levels(path.time(-torch.log(ramp[1:-1]))), low)
