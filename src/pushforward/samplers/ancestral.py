"""Ancestral sampling: DDPM and DDIM η as one rule, x_s = α_s mean + σ_s √(1 − κ) noise + ℓ z.

κ = η²(1 − (α_t σ_s/(α_s σ_t))²); ℓ is the standard deviation of the fresh noise, by one of the rules below. η = 1 with
`fixed_small` is DDPM with σ² = β̃ (Ho et al. 2020), η = 0 is DDIM (Song et al. 2021).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True, slots=True)
class Interval:
    """The scalars of one ancestral interval t → s."""

    level: Level
    state: float  # coefficient of x_t, (σ_s/σ_t)√(1 − κ)
    mean: float  # coefficient of E[x_0 | x_t], α_s − α_t (σ_s/σ_t)√(1 − κ)
    fresh: float  # ℓ; with an estimated variance, its known part
    spread: float  # weight of Var[x_0 | x_t] in ℓ², 0 where it is not used
    random: bool
    evaluations: ClassVar[int] = 1


FreshNoise = Callable[[float, Level, Level], tuple[float, bool]]
"""(κ, t, s) -> (the known part of ℓ², whether Var[x_0 | x_t] is added with the weight of the mean, squared)."""


def fixed_small(kappa: float, level: Level, following: Level) -> tuple[float, bool]:
    """ℓ² = κσ_s²: β̃ for κ of η = 1. Exact when the data is one point."""
    return kappa * following.sigma**2, False


def fixed_large(kappa: float, level: Level, following: Level) -> tuple[float, bool]:
    """ℓ² = σ_t² − (α_t σ_s/α_s)², the forward step's own variance β; none with κ = 0. Exact for data N(0, I)."""
    if kappa == 0.0:
        return 0.0, False
    return level.sigma**2 - (level.alpha * following.sigma / following.alpha) ** 2, False


def analytic(kappa: float, level: Level, following: Level) -> tuple[float, bool]:
    """ℓ² = κσ_s² + (α_s − √(1 − κ)σ_s α_t/σ_t)² Var[x_0 | x_t] (Bao et al. 2022): optimal for any data."""
    return kappa * following.sigma**2, True


@dataclass(frozen=True)
class Ancestral:
    """x_s = α_s mean + σ_s √(1 − κ) noise + ℓ z: DDPM (Ho et al. 2020), DDIM η (Song et al. 2021), Analytic-DPM.

    One evaluation per step; of first order in the probability flow at η = 0. `eta` scales the fresh noise, `variance`
    is its rule: (1, `analytic`) is Analytic-DDPM, (0, `analytic`) Analytic-DDIM (Bao et al. 2022). No noise into σ = 0.
    """

    eta: float = 1.0
    variance: FreshNoise = fixed_small

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise UserError(f"eta must lie in [0, 1]: 0 is DDIM, 1 is DDPM; got {self.eta}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Interval]:
        return [self._interval(t, s) for t, s in itertools.pairwise(levels)]

    def _interval(self, t: Level, s: Level) -> Interval:
        if self.eta > 0 and s.ratio > t.ratio:
            raise UserError("towards more noise only DDIM (eta = 0) has a meaning; got eta = " + f"{self.eta:g}")
        kappa = self.eta**2 * (1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2) if self.eta > 0 else 0.0
        state = s.sigma / t.sigma * (1 - kappa) ** 0.5
        mean = s.alpha - t.alpha * state
        known, estimated = self.variance(kappa, t, s) if s.sigma > 0 else (0.0, False)
        return Interval(t, state, mean, known**0.5, mean**2 if estimated else 0.0, known > 0 or estimated)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: Interval, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        estimate = denoiser.estimate(x, move.level)
        moved = estimate.read(move.mean + move.state * move.level.alpha, move.state * move.level.sigma)
        if not move.random:
            return moved, None
        noise = draws.normal_like(x)
        if move.spread == 0.0:
            return moved + move.fresh * noise, None
        if estimate.var is None:
            raise UserError(
                "the analytic variance needs Var[x_0 | x_t], which this denoiser does not give; choose fixed_small or "
                "fixed_large, or estimate the variance first"
            )
        deviation = (move.fresh**2 + move.spread * estimate.var).clamp(min=0).sqrt()
        return moved + expand(deviation, x) * noise, None


DDIM = Ancestral(eta=0.0)
"""The probability flow to first order, without fresh noise (Song et al. 2021); with η, `Ancestral(eta)`."""
DDPM = Ancestral(eta=1.0)
"""Ancestral sampling with fresh variance β̃ (Ho et al. 2020); with β, `Ancestral(1.0, fixed_large)`."""
