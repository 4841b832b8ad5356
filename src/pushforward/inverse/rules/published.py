"""PiGDM with the sampler it was printed with, where rule and step are one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.rules.gains import as_gaussian
from pushforward.inverse.rules.pigdm import gaussian_gain
from pushforward.inverse.rules.tangent import Tangent
from pushforward.inverse.rules.variance import VarianceLaw, isotropic_variance
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import DDIMStrided, Grid, Uniform
from pushforward.paths.table import Table
from pushforward.samplers.step import Observer, simulate

Weight = Callable[[float, float], float]
"""(√ᾱ_t, √ᾱ_s) -> the weight of the gradient in a step of published PiGDM."""


def printed(now: float, following: float) -> float:
    """√ᾱ_t, as in the paper's algorithm 1."""
    return now


def distributed(now: float, following: float) -> float:
    """√ᾱ_t √ᾱ_s, the default of the authors' code."""
    return now * following


@dataclass(frozen=True, slots=True)
class GuidedInterval:
    """The scalars of one interval of published PiGDM: x_s = mean·m + noise·ε̂ + slope·r²Jᵀgain + fresh·z."""

    level: Level
    mean: float
    noise: float
    slope: float
    fresh: float
    evaluations: ClassVar[int] = 1

    @property
    def random(self) -> bool:
        return self.fresh > 0


@dataclass(frozen=True, eq=False)
class PiGDMStep:
    """x_s = √ᾱ_s m + c_1 z + c_2 ε̂ + w r_t² Jᵀ A*(r_t² A A* + σ_y²)⁻¹(y − A m), r_t² = 1 − ᾱ_t: DDIM's ε̂ uncorrected.

    On paths other than VP, that of the state divided by √(α² + σ²). With σ_y = 0 the vector is Jᵀ(h†(y) − h†(h(m))).
    """

    likelihood: Gaussian
    eta: float
    weight: Weight
    law: VarianceLaw

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[GuidedInterval]:
        return [self._interval(t, s) for t, s in itertools.pairwise(levels)]

    def _interval(self, t: Level, s: Level) -> GuidedInterval:
        size, next_size = (math.hypot(level.alpha, level.sigma) for level in (t, s))
        now, following, spread = t.alpha / size, s.alpha / next_size, s.sigma / next_size
        kappa = self.eta**2 * (1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2)
        slope = self.weight(now, following) * size * next_size
        return GuidedInterval(
            t, s.alpha, next_size * spread * (1 - kappa) ** 0.5, slope, next_size * spread * kappa**0.5
        )

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: GuidedInterval, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        with torch.inference_mode(False), torch.no_grad():
            tangent = Tangent(denoiser, x, move.level, self.law)
            gain = gaussian_gain(self.likelihood, tangent)
            slope = tangent.pull(expand(tangent.variance, gain) * gain, last=True)
        noise = (x - move.level.alpha * tangent.mean) / move.level.sigma
        moved = move.mean * tangent.mean + move.noise * noise + move.slope * slope
        return (moved + move.fresh * draws.normal_like(x) if move.fresh else moved), None


@dataclass(frozen=True)
class PublishedPiGDM:
    """PiGDM as printed (Song et al. 2023, algorithm 1), a Method: DDIM η on uniform times, unit data variance.

    To compare with the paper alone: the step leaves ε̂ uncorrected and weighs the gradient by a heuristic, where
    `Guidance(PiGDM())` has the weights that follow from its own formula. One evaluation and its gradient per step.
    """

    eta: float = 1.0
    weight: Weight = printed
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise UserError(f"eta must lie in [0, 1]: 0 is DDIM, 1 is DDPM; got {self.eta}")

    def restore(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Tensor:
        path = denoiser.path
        step = PiGDMStep(as_gaussian(likelihood, "PiGDM"), self.eta, self.weight, isotropic_variance(1.0))
        grid = self.grid or (DDIMStrided(len(path)) if isinstance(path, Table) else Uniform())
        return simulate(denoiser, step, x, grid(path, evaluations), draws, observe=observe)
