"""The denoising diffusion null-space model (Wang, Yu, Zhang 2023): E[x_0 | x_t] is put right in the range of A*."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
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
from pushforward.inverse.steps.resample import Resampled
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import Grid
from pushforward.samplers.step import Step


@dataclass(frozen=True, eq=False)
class DDNMStep:
    """x_s = α_s x̂ + √(1 − η²) σ_s E[z | x_t] + noise, x̂ = D + A⁺(y − A D) (algorithm 1 for σ_y = 0).

    With noise (DDNM+, algorithm 4), in each component x̂ = D̄ + λ(ȳ − D̄), λ = min(1, η σ_s s/(α_s σ_y)), and the fresh
    noise has the variance η² σ_s² − (α_s λ σ_y/s)², so that with the measurement's it is η² σ_s² again.
    """

    measured: Measured
    components: Components | None
    renewal: Renewal

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Move]:
        return moves(levels, self.renewal)

    def __call__(self, denoiser: Denoiser, x: Tensor, move: Move, memory: None, draws: Draws, /) -> tuple[Tensor, None]:
        estimate = denoiser.estimate(x, move.level)
        noise = draws.normal_like(x) if move.random else None
        free = renewed(estimate, move, noise)
        if self.components is None:
            mean = estimate.mean
            return free + move.alpha * self.measured.solution(self.measured.residual(mean)), None
        return free + self._change(self.components, estimate.mean, noise, move), None

    def _change(self, known: Components, mean: Tensor, noise: Tensor | None, move: Move) -> Tensor:
        bound = move.fresh / move.alpha * known.precision
        inside = (bound < 1) & (known.noise > 0)
        weight = torch.where(inside, bound, 1.0)
        change = move.alpha * weight * (known.y - known.project(mean))
        if noise is not None:
            rest = torch.where(inside, 0.0, (move.fresh**2 - (move.alpha * known.noise) ** 2).clamp(min=0).sqrt())
            change = change + (rest - move.fresh) * known.project(noise)
        return known.embed(change)


@dataclass(frozen=True)
class DDNM(Stepwise):
    """Null-space restoration; with noise it needs a singular system, without any linear operator will do.

    `jump` and `times` are its time travel (see `Resampled`); once is none.
    """

    renewal: Renewal = REVERSE_SDE
    jump: int = 1
    times: int = 1
    grid: Grid | None = None

    @staticmethod
    def published() -> DDNM:
        """η = 0.85, no time travel; 100 evaluations."""
        return DDNM(Constant(0.85), grid=PublishedGrid())

    @property
    def levels(self) -> Grid | None:
        return self.grid

    def step(self, measured: Measured, x: Tensor) -> Step:
        components = None if measured.noiseless else measured.components(x, "DDNM of a noisy measurement")
        step = DDNMStep(measured, components, self.renewal)
        return step if self.times == 1 else Resampled(step, self.jump, self.times)
