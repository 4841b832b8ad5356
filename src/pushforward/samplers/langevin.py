"""Langevin dynamics at one noise level, as a corrector, and annealed over a ladder of levels.

With the score −noise/σ and a step ε, x ← x + ε score + √(2ε) z is, for δ = ε/σ²,

    x ← α mean + σ((1 − δ) noise + √(2δ) z).

Its stationary variance is biased by a factor 1/(1 − δ/2) for Gaussian data of no width; no Metropolis test removes it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level

StepSize = Callable[[Estimate, Tensor], Scalar]
"""(estimate, fresh noise) -> δ = step/σ², for the batch or per sample (B,)."""


@dataclass(frozen=True)
class FixedStep:
    """The same δ = step/σ² at every level."""

    delta: float

    def __post_init__(self) -> None:
        if not 0 < self.delta < 2:
            raise UserError(f"Langevin dynamics is stable for 0 < step/σ² < 2; got {self.delta}")

    def __call__(self, estimate: Estimate, z: Tensor) -> Scalar:
        return self.delta


@dataclass(frozen=True)
class SignalToNoise:
    """step = 2(r‖z‖/‖score‖)², so δ = 2(r‖z‖/‖noise‖)² (Song et al. 2021, algorithm 4), norms per sample.

    The published code averages the norms over the batch, which makes samples depend on their neighbours, and on VP
    multiplies by 1 − β_i, within 2 % of 1. δ is kept below 1, where a step would overshoot the mean.
    """

    r: float = 0.16

    def __call__(self, estimate: Estimate, z: Tensor) -> Scalar:
        norms = [torch.linalg.vector_norm(v.flatten(1), dim=1) for v in (z, estimate.noise)]
        return (2 * (self.r * norms[0] / norms[1]) ** 2).clamp(max=1.0)


def langevin_update(estimate: Estimate, delta: Scalar, z: Tensor) -> Tensor:
    """α mean + σ((1 − δ) noise + √(2δ) z): (B, …)."""
    level = estimate.level
    if isinstance(delta, Tensor) or isinstance(level.sigma, Tensor):
        kick = expand(level.sigma * (2 * torch.as_tensor(delta)).sqrt(), z)
        return estimate.x - expand(level.sigma * delta, z) * estimate.noise + kick * z
    moved = estimate.read(level.alpha, level.sigma * (1 - delta))
    return torch.add(moved, z, alpha=level.sigma * math.sqrt(2 * delta))


@dataclass(frozen=True, slots=True)
class LangevinMove:
    level: Level
    random: ClassVar[bool] = True
    evaluations: ClassVar[int] = 1


@dataclass(frozen=True)
class Langevin:
    """One step of Langevin dynamics at a level: leaves p_t invariant up to a bias proportional to δ; one evaluation.

    It stays where it is, so it corrects another step: `Then(predictor, Langevin(...))`.
    """

    size: StepSize = SignalToNoise()

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[LangevinMove]:
        for t, s in itertools.pairwise(levels):
            if s != t:
                raise UserError(
                    "a Langevin corrector stays at its noise level; combine it with a step that moves: "
                    "Then(predictor, Langevin(...)), or use AnnealedLangevin"
                )
        return [LangevinMove(level) for level in levels[:-1]]

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: LangevinMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        z = draws.normal_like(x)
        estimate = denoiser.estimate(x, move.level)
        return langevin_update(estimate, self.size(estimate, z), z), None


@dataclass(frozen=True, slots=True)
class AnnealedMove:
    level: Level
    scale: float  # x is carried to the next level by α_s/α_t
    delta: float
    denoise: bool
    evaluations: int
    random: ClassVar[bool] = True


@dataclass(frozen=True)
class AnnealedLangevin:
    """T steps ε(σ_i/σ_L)² of Langevin dynamics at each level of a ladder, then E[x_0 | x] (Song & Ermon 2019, 2020).

    The steps are δ = ε/σ_L² at every level, σ_L the smallest; T evaluations per level and one to denoise, into σ = 0.
    """

    epsilon: float = 6.2e-6
    repeats: int = 5
    denoise: bool = True

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[AnnealedMove]:
        if levels[-1].ratio > levels[0].ratio:
            raise UserError("annealed Langevin dynamics goes from much noise to little")
        smallest = min(level.sigma for level in levels if level.sigma > 0)
        delta = FixedStep(self.epsilon / smallest**2).delta
        return [self._move(t, s, delta) for t, s in itertools.pairwise(levels)]

    def _move(self, t: Level, s: Level, delta: float) -> AnnealedMove:
        if t.alpha == 0:
            raise UserError("a Langevin step at α = 0 learns nothing of the data; start the ladder at α > 0")
        denoise = self.denoise and s.sigma == 0
        return AnnealedMove(t, s.alpha / t.alpha, delta, denoise, self.repeats + denoise)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: AnnealedMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        for i in range(self.repeats):
            x = langevin_update(denoiser.estimate(x, move.level), move.delta, draws.at(i).normal_like(x))
        if move.denoise:
            return denoiser.estimate(x, move.level).mean, None
        return (x if move.scale == 1.0 else x * move.scale), None
