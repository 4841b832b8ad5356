"""DDIM exactly as diffusers runs it: its time steps, and its clipping of the data but not of the noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.interop.schedule import Schedule
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level
from pushforward.paths.grids import check_steps
from pushforward.samplers.default import Sampler


class Interval(NamedTuple):
    """From a level to the next."""

    level: Level
    following: Level
    random: bool = False
    evaluations: int = 1


@dataclass(frozen=True)
class ClippedDDIM:
    """x_s = α_s clip(mean) + σ_s noise (diffusers' DDIMScheduler): the noise is that of the mean before it was clipped.

    Unlike `Clipped`, which keeps α·mean + σ·noise = x_t. `clip` is the bound, None for none: then this is DDIM.
    """

    clip: float | None = 1.0

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Interval]:
        return [Interval(t, s) for t, s in itertools.pairwise(levels)]

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: Interval, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        estimate = denoiser.estimate(x, move.level)
        mean, noise = _published(estimate)
        if self.clip is not None:
            mean = mean.clamp(-self.clip, self.clip)
        return move.following.alpha * mean + move.following.sigma * noise, None


def _published(estimate: Estimate) -> tuple[Tensor, Tensor]:
    """Mean and noise, rounded as there: where α is 0.006, (x − σF)/α and x/α − σF/α differ in the fourth decimal."""
    level = estimate.level
    if level.alpha > 0 and estimate.reads_like(Estimate.of_noise(estimate.x, level, estimate.output)):
        return (estimate.x - level.sigma * estimate.output) / level.alpha, estimate.output
    return estimate.mean, estimate.noise


@dataclass(frozen=True)
class DiffusersGrid:
    """The time steps of diffusers: `leading`, `trailing` or `linspace`; `to_clean` ends at σ = 0, else at the first β.

    A step goes from each to the next. diffusers goes to index − T // n instead, which is the same where n divides T.
    """

    T: int = 1000
    spacing: str = "leading"
    offset: int = 0
    to_clean: bool = True

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        n = check_steps(steps)
        if n > self.T:
            raise UserError(f"a table of {self.T} levels admits at most {self.T} steps; got {n}")
        index: np.ndarray
        if self.spacing == "leading":
            index = np.arange(n)[::-1] * (self.T // n) + self.offset
        elif self.spacing == "trailing":
            index = np.round(np.arange(self.T, 0, -self.T / n)) - 1
        elif self.spacing == "linspace":
            index = np.linspace(0, self.T - 1, n).round()[::-1]
        else:
            raise UserError(f"time steps are leading, trailing or linspace; got {self.spacing!r}")
        index = np.minimum(index, self.T - 1)
        levels = path.levels([float(k + 1) / self.T for k in index])
        if self.to_clean:
            return (*levels, CLEAN)
        return levels if index[-1] == 0 else (*levels, *path.levels([1 / self.T]))


def published_sampler(schedule: Schedule) -> Sampler:
    """DDIM with the settings that a scheduler's configuration has, for models on a table."""
    config = schedule.config
    grid = DiffusersGrid(
        int(config.get("num_train_timesteps", 1000)),
        str(config.get("timestep_spacing", "leading")),
        int(config.get("steps_offset", 0)),
        bool(config.get("set_alpha_to_one", True)),
    )
    return Sampler(ClippedDDIM(schedule.clip), grid)
