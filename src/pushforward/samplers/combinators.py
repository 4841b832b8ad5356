"""Steps made of steps: a predictor with its corrector, an interval repeated, a part of the state replaced."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers.step import Step, inner_draws, move_is_random


@dataclass(frozen=True, slots=True)
class Pair:
    """A move, and what follows it; `second` is None where nothing does."""

    first: Any
    second: Any

    @property
    def evaluations(self) -> int | None:
        return _total(move.evaluations for move in (self.first, self.second) if move is not None)

    @property
    def random(self) -> bool:
        return move_is_random(self.first) or (self.second is not None and move_is_random(self.second))


def _total(counts: Any) -> int | None:
    known = list(counts)
    return None if None in known else sum(known)


@dataclass(frozen=True)
class Then:
    """Predictor–corrector (Song et al. 2021, algorithm 1): `first` moves t → s, then `second` acts at s.

    Nothing is corrected at σ = 0, where the distribution is the data's own.
    """

    first: Step
    second: Step

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Pair]:
        seconds = [self.second.plan(path, (s, s))[0] if s.sigma > 0 else None for s in levels[1:]]
        return [Pair(*both) for both in zip(self.first.plan(path, levels), seconds, strict=True)]

    def __call__(self, denoiser: Denoiser, x: Tensor, move: Pair, memory: Any, draws: Draws, /) -> tuple[Tensor, Any]:
        before = memory or (None, None)
        x, first = self.first(denoiser, x, move.first, before[0], inner_draws(draws, move.first, "first"))
        if move.second is None:
            return x, (first, before[1])
        x, second = self.second(denoiser, x, move.second, before[1], inner_draws(draws, move.second, "second"))
        return x, (first, second)


@dataclass(frozen=True, slots=True)
class RepeatedMove:
    inner: Any
    times: int
    scale: float  # back to t by the forward process: x ← scale·x + spread·z
    spread: float

    @property
    def evaluations(self) -> int | None:
        return None if self.inner.evaluations is None else self.times * self.inner.evaluations

    @property
    def random(self) -> bool:
        return move_is_random(self.inner) or (self.times > 1 and self.spread > 0)


@dataclass(frozen=True)
class Repeat:
    """t → s, back to t by the forward process, and again, `times` in all (RePaint's resampling, Lugmayr et al. 2022).

    For a corrector, which stays at s = t, it is that many steps. An interval into clean data is done once.
    """

    step: Step
    times: int

    def __post_init__(self) -> None:
        if self.times < 1:
            raise UserError(f"a step is repeated at least once; got {self.times}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[RepeatedMove]:
        moves = self.step.plan(path, levels)
        return [self._move(*each) for each in zip(moves, itertools.pairwise(levels), strict=True)]

    def _move(self, inner: Any, ends: tuple[Level, Level]) -> RepeatedMove:
        t, s = ends
        if s.sigma == 0:
            return RepeatedMove(inner, 1, 1.0, 0.0)
        scale = t.alpha / s.alpha if s != t else 1.0
        return RepeatedMove(inner, self.times, scale, max(t.sigma**2 - (scale * s.sigma) ** 2, 0.0) ** 0.5)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: RepeatedMove, memory: Any, draws: Draws, /
    ) -> tuple[Tensor, Any]:
        moved, after = self.step(denoiser, x, move.inner, memory, inner_draws(draws, move.inner, 0))
        for i in range(1, move.times):
            if move.spread > 0:
                moved = torch.add(move.scale * moved, draws.at(i, "back").normal_like(x), alpha=move.spread)
            moved, after = self.step(denoiser, moved, move.inner, memory, inner_draws(draws, move.inner, i))
        return moved, after


Replacement = Callable[[Tensor, Level, Draws], Tensor]
"""(x at the level, level, draws) -> x with a part of it replaced, e.g. by known data mixed to the level."""


@dataclass(frozen=True, slots=True)
class ProjectedMove:
    inner: Any
    level: Level
    random: bool = True

    @property
    def evaluations(self) -> int | None:
        return self.inner.evaluations


@dataclass(frozen=True)
class Project:
    """`step`, then x ← replace(x, level, draws) at the level reached: what RePaint and score-based MRI do.

    For instance, to keep the measured part of the data: `x0 = known`, `x ← mask·mix(x0, z, level) + (1 − mask)·x`.
    """

    step: Step
    replace: Replacement

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[ProjectedMove]:
        return [ProjectedMove(move, s) for move, s in zip(self.step.plan(path, levels), levels[1:], strict=True)]

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: ProjectedMove, memory: Any, draws: Draws, /
    ) -> tuple[Tensor, Any]:
        x, memory = self.step(denoiser, x, move.inner, memory, inner_draws(draws, move.inner, "step"))
        return self.replace(x, move.level, draws.at("replace")), memory
