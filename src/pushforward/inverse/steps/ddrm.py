"""Denoising diffusion restoration models (Kawar, Elad, Ermon, Song 2022) on any path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.inverse.steps.measured import Components, Measured
from pushforward.inverse.steps.moves import (
    REVERSE_SDE,
    Constant,
    Move,
    PublishedGrid,
    Renewal,
    Stepwise,
    moves,
    renewed,
)
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

    Given x_0 each is N(α_s x̄_0, σ_s²), as the denoiser was trained for. With `along_state` the second is as the first:
    the noise of the measurement, once the state carries it, is taken from the state.
    """

    components: Components
    renewal: Renewal
    blend: Blend
    along_state: bool = False

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Move]:
        return moves(levels, self.renewal)

    def __call__(self, denoiser: Denoiser, x: Tensor, move: Move, memory: None, draws: Draws, /) -> tuple[Tensor, None]:
        estimate, known = denoiser.estimate(x, move.level), self.components
        if not move.random and not known.exact:
            return estimate.mean, None
        noise = draws.normal_like(x) if move.random else None
        free = renewed(estimate, move, noise)
        fresh = None if noise is None else known.project(noise)
        moved = known.project(free)
        above = self._above(estimate, move, fresh)
        below = moved if self.along_state else self._below(estimate, move, fresh)
        held = torch.where(move.sigma >= move.alpha * known.noise, above, below)
        return free + known.embed(held - moved), None

    def _above(self, estimate: Estimate, move: Move, fresh: Tensor | None) -> Tensor:
        """The third branch."""
        known = self.components
        weight = self.blend(move.sigma / move.alpha, known.noise)
        found = move.alpha * weight * known.y
        if isinstance(weight, Tensor) or weight != 1.0:
            found = found + move.alpha * (1 - weight) * known.project(estimate.mean)
        if fresh is None:
            return found
        rest = (move.sigma**2 - (move.alpha * weight * known.noise) ** 2).clamp(min=0).sqrt()
        return found + rest * fresh

    def _below(self, estimate: Estimate, move: Move, fresh: Tensor | None) -> Tensor:
        """The second branch."""
        known = self.components
        mean = known.project(estimate.mean)
        found = move.alpha * mean + move.kept * known.precision * (known.y - mean)
        return found if fresh is None else torch.add(found, fresh, alpha=move.fresh)


@dataclass(frozen=True)
class DDRM(Stepwise):
    """Restoration in the singular vectors of the operator; one evaluation per step, no gradients of the network.

    By default noise is renewed as by the reverse SDE and, once the state carries the measurement's noise, the rest of
    the way is a plain one: of a measurement of everything with one noise level this draws from the posterior itself.
    The `published` rule pulls towards y at every step, so that more steps fit its noise.
    """

    renewal: Renewal = REVERSE_SDE
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
        return DDRM(Constant(1.0), variational, False, PublishedGrid())

    @property
    def levels(self) -> Grid | None:
        return self.grid

    def step(self, measured: Measured, x: Tensor) -> DDRMStep:
        return DDRMStep(measured.components(x, "DDRM"), self.renewal, self.blend, self.along_state)

    def start(self, measured: Measured, x: Tensor, level: Level, draws: Draws) -> Tensor:
        """N(α ȳ, σ² − (α σ_y/s)²) where that is a variance, else N(0, σ²)."""
        known = measured.components(x, "DDRM")
        rest = (level.sigma**2 - (level.alpha * known.noise) ** 2).clamp(min=0).sqrt() / level.sigma
        change = level.alpha * known.y + (rest - 1) * known.project(x)
        return x + known.embed(torch.where(level.sigma >= level.alpha * known.noise, change, 0))
