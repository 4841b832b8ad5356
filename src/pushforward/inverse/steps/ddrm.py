"""Denoising diffusion restoration models (Kawar, Elad, Ermon, Song 2022) on any path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.inverse.steps.anew import Ways, both_ways
from pushforward.inverse.steps.measured import Components, Measured
from pushforward.inverse.steps.moves import (
    ANEW,
    Constant,
    Move,
    PublishedGrid,
    Renewal,
    Stepwise,
    moves,
    renewed,
)
from pushforward.numerics.broadcast import choose
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import Grid

Blend = Callable[[float, Tensor], Tensor | float]
"""(σ_s/α_s, σ_y/s_i) -> η_b, the weight of the measurement where diffusion noise is above the measurement's."""


@dataclass(frozen=True)
class Fixed:
    """The same η_b for all components and levels: 1 as published, where the model's opinion of them is not asked."""

    eta_b: float = 1.0

    def __call__(self, ratio: float, noise: Tensor) -> float:
        return self.eta_b


def variational(ratio: float, noise: Tensor) -> Tensor:
    """η_b = 2ρ²/(ρ² + (σ_y/s)²): with η = 1 the bound is DDPM's, so that D is trained for it (theorem 3.2)."""
    square = ratio**2
    return 2 * square / (square + noise**2).clamp(min=torch.finfo(noise.dtype).tiny)


@dataclass(frozen=True, eq=False)
class DDRMStep:
    """The step of DDRM for one measurement, in the components x̄ = V* x of A = U diag(s) V*, ȳ = U* y/s.

    With D = E[x_0 | x_t], ε = E[z | x_t], ρ = σ_s/α_s, and the share η² of noise that is fresh, x̄_s is

    - s_i = 0:         α_s D̄ + √(1 − η²) σ_s ε̄ + η σ_s z̄;
    - ρ < σ_y/s_i:     α_s D̄ + √(1 − η²) σ_s (ȳ − D̄)/(σ_y/s_i) + η σ_s z̄;
    - ρ ≥ σ_y/s_i:     α_s((1 − η_b) D̄ + η_b ȳ) + √(σ_s² − (α_s η_b σ_y/s_i)²) z̄.

    Given x_0 each is N(α_s x̄_0, σ_s²), as the denoiser was trained for.
    """

    components: Components
    renewal: Renewal
    blend: Blend

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Move]:
        return moves(levels, self.renewal)

    def __call__(self, denoiser: Denoiser, x: Tensor, move: Move, memory: None, draws: Draws, /) -> tuple[Tensor, None]:
        estimate, known = denoiser.estimate(x, move.level), self.components
        if not move.random and not known.exact:
            return estimate.mean, None
        noise = draws.normal_like(x) if move.random else None
        free, bars = renewed(estimate, move, noise), Bars(known, estimate, noise)
        if move.sigma >= move.alpha * known.most:
            held = self._above(bars, move)
        elif move.sigma < move.alpha * known.least:
            held = self._below(bars, move)
        else:
            above = move.sigma >= move.alpha * known.noise
            held = torch.where(above, self._above(bars, move), self._below(bars, move))
        return free + known.embed(held - known.project(free)), None

    def _above(self, bars: Bars, move: Move) -> Tensor:
        """The third branch."""
        known = self.components
        weight = self.blend(move.sigma / move.alpha, known.noise)
        found = move.alpha * weight * known.y
        if isinstance(weight, Tensor) or weight != 1.0:
            found = found + move.alpha * (1 - weight) * bars.mean
        if bars.noise is None:
            return found
        rest = (move.sigma**2 - (move.alpha * weight * known.noise) ** 2).clamp(min=0).sqrt()
        return torch.addcmul(found, rest, bars.noise)

    def _below(self, bars: Bars, move: Move) -> Tensor:
        """The second branch."""
        known = self.components
        found = move.alpha * bars.mean + move.kept * known.precision * (known.y - bars.mean)
        return found if bars.noise is None else torch.add(found, bars.noise, alpha=move.fresh)


class Bars:
    """D̄ and z̄: V* of an estimate's mean and of fresh noise, each computed where a branch asks for it."""

    def __init__(self, known: Components, estimate: Estimate, noise: Tensor | None) -> None:
        self._known, self._estimate, self._noise = known, estimate, noise

    @cached_property
    def mean(self) -> Tensor:
        return self._known.project(self._estimate.mean)

    @cached_property
    def noise(self) -> Tensor | None:
        return None if self._noise is None else self._known.project(self._noise)


@dataclass(frozen=True, eq=False)
class AlongStateStep(DDRMStep):
    """DDRM's step where components below the measurement's noise are left to the state that carries it already.

    The second branch becomes the reverse SDE: from x̄_t if that is below σ_y/s_i, from ȳ at its own level σ_y/s_i if the
    step comes from above. What is not seen is renewed by `renewal` as long as it can learn from what is: while the
    noise is above `least`, that of the surest component; below it, the reverse SDE again.
    """

    least: Tensor
    """min σ_y/s_i of each item, (1 or B,)."""
    ends: tuple[float, float]
    """The smallest and the largest of these."""

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Ways]:  # type: ignore[override]
        return both_ways(levels, self.renewal)

    def __call__(  # type: ignore[override]
        self, denoiser: Denoiser, x: Tensor, ways: Ways, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        move, known = ways.along, self.components
        estimate = denoiser.estimate(x, move.level)
        if not move.random and not known.exact:
            return estimate.mean, None
        noise = draws.normal_like(x) if move.random else None
        bars = Bars(known, estimate, noise)
        if move.sigma > move.alpha * max(self.ends[1], known.most):
            free = renewed(estimate, ways.renewed, noise)
            return free + known.embed(self._above(bars, move) - self._project(free, bars, ways.renewed)), None
        along = renewed(estimate, move, noise)
        if move.level.sigma < move.level.alpha * known.least:
            return along, None
        return self._between(along, estimate, noise, bars, ways), None

    def _between(self, along: Tensor, estimate: Estimate, noise: Tensor | None, bars: Bars, ways: Ways) -> Tensor:
        """Where some components are above the measurement's noise and others below."""
        move, known = ways.along, self.components
        free, here = along, known.project(along)
        there = here
        if move.sigma > move.alpha * self.ends[0]:
            anew = renewed(estimate, ways.renewed, noise)
            above = move.sigma > move.alpha * self.least
            there = self._project(anew, bars, ways.renewed)
            free, there = choose(above, anew, along), choose(above, there, here)
        carried = move.level.sigma < move.level.alpha * known.noise
        below = torch.where(carried, here, self._below(bars, move))
        held = torch.where(move.sigma >= move.alpha * known.noise, self._above(bars, move), below)
        return free + known.embed(held - there)

    def _project(self, free: Tensor, bars: Bars, move: Move) -> Tensor:
        """V* of what is renewed, by what of it is known already."""
        if move.kept > 0 or bars.noise is None:
            return self.components.project(free)
        return torch.add(move.alpha * bars.mean, bars.noise, alpha=move.fresh)

    def _below(self, bars: Bars, move: Move) -> Tensor:
        """The reverse SDE from ȳ, whose noise is σ_y/s_i."""
        known = self.components
        ratio = (move.sigma / move.alpha * known.precision).clamp(max=1)
        found = move.alpha * (bars.mean + ratio**2 * (known.y - bars.mean))
        return found if bars.noise is None else torch.addcmul(found, move.sigma * (1 - ratio**2).sqrt(), bars.noise)


@dataclass(frozen=True)
class DDRM(Stepwise):
    """Restoration in the singular vectors of the operator; one evaluation per step, no gradients of the network.

    By default all noise of what is not seen is renewed at each step above the measurement's noise, so that it comes to
    agree with what is seen, and the rest of the way is the reverse SDE, in which y is not met again: of a measurement
    of everything with one noise level this draws from the posterior itself. The `published` rule pulls towards y at
    every step, so that more steps fit its noise.
    """

    renewal: Renewal = ANEW
    blend: Blend = Fixed()
    along_state: bool = True
    grid: Grid | None = None

    @staticmethod
    def published() -> DDRM:
        """η = 0.85, η_b = 1; 20 evaluations."""
        return DDRM(Constant(0.85), Fixed(1.0), False, PublishedGrid())

    @staticmethod
    def variational() -> DDRM:
        """η = 1 and the η_b of theorem 3.2, for which the trained network is the optimum."""
        return DDRM(ANEW, variational, False, PublishedGrid())

    @property
    def levels(self) -> Grid | None:
        return self.grid

    def step(self, measured: Measured, x: Tensor) -> DDRMStep:
        known = measured.components(x, "DDRM")
        if not self.along_state:
            return DDRMStep(known, self.renewal, self.blend)
        least = torch.where(known.seen, known.noise, torch.inf).flatten(1).amin(1)
        ends = float(least.min()), float(least.max())
        return AlongStateStep(known, self.renewal, self.blend, least, ends)

    def start(self, measured: Measured, x: Tensor, level: Level, draws: Draws) -> Tensor:
        """N(α ȳ, σ² − (α σ_y/s)²) where that is a variance, else N(0, σ²)."""
        known = measured.components(x, "DDRM")
        rest = (level.sigma**2 - (level.alpha * known.noise) ** 2).clamp(min=0).sqrt() / level.sigma
        change = level.alpha * known.y + (rest - 1) * known.project(x)
        return x + known.embed(torch.where(level.sigma >= level.alpha * known.noise, change, 0))
