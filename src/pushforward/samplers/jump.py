"""Steps of discrete diffusion: rules that move integer states from one level to the next, on the common loop.

All of them move each site by its own rates, computed once at the beginning of the interval, so sites that jump in the
same step do not know of one another: an error of first order in the step, which vanishes for one site. A grid that
ends in clean data ends with a draw of p(x_0 | x_t); its mode, which is often taken, is no sample.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.denoisers.categorical import CategoricalEstimate, JumpDenoiser
from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.counting import categorical, poisson
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.paths.jump import JumpPath
from pushforward.samplers.step import Observer, simulate

_STAY = 1e-300
"""Of a law that is zero everywhere, where numbers end: the site stays as it is."""


@dataclass(frozen=True, slots=True)
class JumpMove:
    """The interval (t, s)."""

    t: Level
    s: Level
    random: ClassVar[bool] = True
    evaluations: ClassVar[int] = 1


def _intervals(levels: Sequence[Level]) -> list[JumpMove]:
    return [JumpMove(t, s) for t, s in itertools.pairwise(levels)]


class SiteStep(ABC):
    """A step that draws every site from a law of its own, given the state at the beginning of the interval."""

    @abstractmethod
    def law(self, estimate: CategoricalEstimate, s: Level) -> Tensor:
        """The law of each site at s given x_t, up to a constant: (B, …, states); of symbols alone where s is clean."""

    def plan(self, path: JumpPath, levels: Sequence[Level], /) -> list[JumpMove]:
        return _intervals(levels)

    def __call__(
        self, denoiser: JumpDenoiser, x: Tensor, move: JumpMove, memory: Any, draws: Draws, /
    ) -> tuple[Tensor, Any]:
        return categorical(self.law(denoiser.estimate(x, move.t), move.s), draws), None


@dataclass(frozen=True)
class JumpEuler(SiteStep):
    """x stays with probability e^{−hR̂(x)}, R̂(x) the sum of its rates over an interval h, and else jumps once."""

    def law(self, estimate: CategoricalEstimate, s: Level) -> Tensor:
        if s.sigma == 0:
            return estimate.probabilities
        return jump_once(estimate.x, estimate.reverse_rates, estimate.level.t - s.t)


@dataclass(frozen=True)
class TauLeaping(SiteStep):
    """Every jump x → y happens Poisson(hR̂(x, y)) times; a site that would jump more than once stays where it is.

    Symbols have no order, so jumps cannot be added up (Gillespie 2001; Campbell et al. 2022).
    """

    def law(self, estimate: CategoricalEstimate, s: Level) -> Tensor:
        if s.sigma == 0:
            return estimate.probabilities
        expected = (estimate.level.t - s.t) * estimate.reverse_rates
        total = expected.sum(-1, keepdim=True)
        jumps = expected * torch.exp(-total)
        return jumps + _here(estimate.x, expected) * (1 - jumps.sum(-1, keepdim=True))


@dataclass(frozen=True)
class OrderedLeaping:
    """τ-leaping of ordered states, such as levels of a pixel: jumps add up, and are kept in range."""

    def plan(self, path: JumpPath, levels: Sequence[Level], /) -> list[JumpMove]:
        if path.generator.states != path.generator.symbols:
            raise UserError("masked symbols have no order, so their jumps cannot be added up; use TauLeaping")
        return _intervals(levels)

    def __call__(
        self, denoiser: JumpDenoiser, x: Tensor, move: JumpMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        estimate = denoiser.estimate(x, move.t)
        if move.s.sigma == 0:
            return categorical(estimate.probabilities, draws), None
        expected = (move.t.t - move.s.t) * estimate.reverse_rates
        by = torch.arange(expected.shape[-1], device=x.device) - x.unsqueeze(-1)
        return (x + (poisson(expected, draws) * by).sum(-1)).clamp(0, expected.shape[-1] - 1), None


@dataclass(frozen=True)
class JumpAncestral(SiteStep):
    """x_s drawn from p(x_s | x_t) of each site: ∝ q_{t|s}(x_t | y) Σ_{x_0} g(x_0) q_s(y | x_0).

    Exact for one site at any step. For the absorbing chain: a masked site is shown with probability
    (α_s − α_t)/(1 − α_t), as its symbol's law says (Sahoo et al. 2024); for the uniform one, D3PM (Austin et al. 2021).
    With `keep`, an estimate of a timeless denoiser is used again for the samples that have not changed.
    """

    keep: bool = True

    def law(self, estimate: CategoricalEstimate, s: Level) -> Tensor:
        if s.sigma == 0:
            return estimate.probabilities
        path, t = estimate.path, estimate.level
        between = path.generator.column(estimate.x, path.total(t) - path.total(s))
        return between * estimate.marginal(s).to(between) + _STAY * _here(estimate.x, between)

    def __call__(
        self, denoiser: JumpDenoiser, x: Tensor, move: JumpMove, memory: Any, draws: Draws, /
    ) -> tuple[Tensor, Any]:
        if not (self.keep and denoiser.timeless):
            return super().__call__(denoiser, x, move, memory, draws)
        outside = _renewed(denoiser, x, move.t, memory)
        estimate = CategoricalEstimate(denoiser.path, x, move.t, outside)
        return categorical(self.law(estimate, move.s), draws), (x, outside)


def _renewed(denoiser: JumpDenoiser, x: Tensor, level: Level, memory: Any) -> Tensor:
    """log g of x, evaluated for the samples alone that are not what they were."""
    if memory is None:
        return denoiser.outside(x, level)
    before, outside = memory
    changed = (x != before).flatten(1).any(1).nonzero().squeeze(1)
    if len(changed) == 0:
        return outside
    if len(changed) == len(x):
        return denoiser.outside(x, level)
    fresh = denoiser.rows(changed).outside(x[changed], level)
    return outside.index_copy(0, changed, fresh.to(outside.dtype))


@dataclass(frozen=True, slots=True)
class CorrectedMove:
    inner: JumpMove
    corrections: int
    size: float
    random: ClassVar[bool] = True

    @property
    def evaluations(self) -> int:
        return self.inner.evaluations + self.corrections


@dataclass(frozen=True)
class JumpCorrected:
    """Predictor–corrector: after `step` into s, jumps at the rates R_s + R̂_s, which leave p_s as it is.

    `corrections` of them where s ≤ `entry` (Campbell et al. 2022, 4.4), each over `multiplier` times the interval, or
    times s where that is less: rates grow like 1/s towards the data, and jumps of all sites at once leave p_s as it is
    only while few of them jump.
    """

    step: Any
    corrections: int = 2
    multiplier: float = 0.5
    entry: float = 1.0

    def plan(self, path: JumpPath, levels: Sequence[Level], /) -> list[CorrectedMove]:
        moves = self.step.plan(path, levels)
        return [self._move(*each) for each in zip(moves, itertools.pairwise(levels), strict=True)]

    def _move(self, inner: Any, ends: tuple[Level, Level]) -> CorrectedMove:
        t, s = ends
        acts = s.sigma > 0 and s.t <= self.entry
        return CorrectedMove(inner, self.corrections if acts else 0, self.multiplier * min(t.t - s.t, s.t))

    def __call__(
        self, denoiser: JumpDenoiser, x: Tensor, move: CorrectedMove, memory: Any, draws: Draws, /
    ) -> tuple[Tensor, Any]:
        x, memory = self.step(denoiser, x, move.inner, memory, draws.at("step"))
        for i in range(move.corrections):
            estimate = denoiser.estimate(x, move.inner.s)
            rates = estimate.reverse_rates + denoiser.path.forward_rates(x, move.inner.s)
            x = categorical(jump_once(x, rates, move.size), draws.at("correct", i))
        return x, memory


def jump_once(x: Tensor, rates: Tensor, interval: float) -> Tensor:
    """The law of at most one jump of every site at constant rates (B, …, states), 0 at x: (B, …, states)."""
    total = rates.sum(-1, keepdim=True)
    moved = rates / total.clamp(min=1e-300) * -torch.expm1(-interval * total)
    return moved + _here(x, rates) * torch.exp(-interval * total)


def _here(x: Tensor, rates: Tensor) -> Tensor:
    return functional.one_hot(x, rates.shape[-1]).to(rates)


def fixed(path: JumpPath, known: Tensor, where: Tensor) -> Callable[[Tensor, Level, Draws], Tensor]:
    """What `Project` takes to keep the sites `where` (B, …) bool at `known` (B, …), corrupted to each level.

    Those of the absorbing chain are kept as they are: what is seen says all at every level, so the condition is exact
    (only correctors, which hide symbols again, ever change it). For others the two parts know of one another only step
    by step, so what is given counts for less than it should, the more so without a corrector (`JumpCorrected`).
    """
    seen = path.generator.states > path.generator.symbols

    def replace(x: Tensor, level: Level, draws: Draws) -> Tensor:
        there = known if seen or level.sigma == 0 else path.corrupt(known, level, draws)
        return torch.where(where, there, x)

    return replace


def simulate_jumps(
    denoiser: JumpDenoiser,
    step: Any,
    x: Tensor,
    levels: Sequence[Level],
    draws: Draws,
    observe: Observer | None = None,
) -> Tensor:
    """Move integer states x: (B, …) from levels[0] down to levels[-1]: the loop that runs every sampler."""
    return simulate(cast(Denoiser, denoiser), step, x, levels, draws, observe=observe)
