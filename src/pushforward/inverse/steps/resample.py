"""Time travel: a stretch of the way gone several times, so that what is known and what is drawn come to agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.steps.measured import Measured
from pushforward.inverse.steps.moves import PublishedGrid, Stepwise
from pushforward.inverse.steps.projection import MODELLED, ProjectedStep, Projection, Published
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import Grid
from pushforward.samplers.ancestral import DDPM
from pushforward.samplers.step import Step, inner_draws, move_is_random


@dataclass(frozen=True, slots=True)
class Travel:
    """A move, then `times` − 1 rounds: up by the forward process, x ← scale·x + spread·z, and down the block."""

    inner: Any
    block: tuple[Any, ...] = ()
    times: int = 1
    scale: float = 1.0
    spread: float = 0.0

    @property
    def evaluations(self) -> int | None:
        counts = [move.evaluations for move in (self.inner, *self.block * (self.times - 1))]
        return None if None in counts else sum(counts)

    @property
    def random(self) -> bool:
        return self.times > 1 or move_is_random(self.inner)


@dataclass(frozen=True)
class Resampled:
    """Each block of `jump` intervals, counted from the data, is gone `times` times; the one into clean data once.

    Lugmayr et al. (2022), figure 9: their j = 10, r = 10; DDNM's time travel (Wang, Yu, Zhang 2023). What is left over
    at the noise end is gone once.
    """

    step: Step
    jump: int
    times: int

    def __post_init__(self) -> None:
        if self.jump < 1 or self.times < 1:
            raise UserError(f"a jump has at least one step and is made at least once; got {self.jump}, {self.times}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Travel]:
        inner = self.step.plan(path, levels)
        travelled = len(inner) - (1 if levels[-1].sigma == 0 else 0)
        found = [Travel(move) for move in inner]
        if self.times == 1:
            return found
        for end in range(travelled, self.jump - 1, -self.jump):
            t, s = levels[end - self.jump], levels[end]
            scale = t.alpha / s.alpha
            spread = max(t.sigma**2 - (scale * s.sigma) ** 2, 0.0) ** 0.5
            found[end - 1] = Travel(inner[end - 1], tuple(inner[end - self.jump : end]), self.times, scale, spread)
        return found

    def __call__(self, denoiser: Denoiser, x: Tensor, move: Travel, memory: Any, draws: Draws, /) -> tuple[Tensor, Any]:
        x, memory = self.step(denoiser, x, move.inner, memory, inner_draws(draws, move.inner, "down"))
        for i in range(1, move.times):
            x = torch.add(move.scale * x, draws.at(i, "up").normal_like(x), alpha=move.spread)
            memory = None
            for j, inner in enumerate(move.block):
                x, memory = self.step(denoiser, x, inner, memory, inner_draws(draws, inner, i, j))
        return x, memory


@dataclass(frozen=True)
class RePaint(Stepwise):
    """What is measured is replaced by its noised value, and the way gone back and forth (Lugmayr et al. 2022).

    For masks as published, and for every linear operator: what is measured is the range of A*. A budget of E
    evaluations is about E/`times` steps.
    """

    jump: int = 5
    times: int = 3
    projection: Projection = MODELLED
    predictor: Step = DDPM
    grid: Grid | None = None

    @staticmethod
    def published() -> RePaint:
        """T = 250, j = 10, r = 10: 2410 evaluations."""
        return RePaint(10, 10, Published(), DDPM, PublishedGrid())

    @property
    def levels(self) -> Grid | None:
        return self.grid

    def step(self, measured: Measured, x: Tensor) -> Resampled:
        return Resampled(ProjectedStep(measured, self.predictor, None, self.projection), self.jump, self.times)
