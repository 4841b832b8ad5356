"""The predictors of Song et al. (2021) for any path: reverse diffusion here, ancestral sampling by its other name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers.ancestral import Ancestral, fixed_large, fixed_small
from pushforward.samplers.maruyama import NoisyMove


@dataclass(frozen=True)
class ReverseDiffusion:
    """x_s = (2 − a) x_t + G² score + G z with a = α_t/α_s, G² = σ_t² − a²σ_s² (Song et al. 2021, appendix E).

    The forward step x_t = a x_s + G z discretised backwards as it stands. First order, one evaluation per step; into
    clean data it returns the mean, without fresh noise.
    """

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[NoisyMove]:
        return [self._move(t, s) for t, s in itertools.pairwise(levels)]

    def _move(self, t: Level, s: Level) -> NoisyMove:
        if s.ratio > t.ratio:
            raise UserError("reverse diffusion goes from noise to data; towards noise use the probability flow")
        a = t.alpha / s.alpha
        square = t.sigma**2 - (a * s.sigma) ** 2
        fresh = square**0.5 if s.sigma > 0 else 0.0
        return NoisyMove(t, (2 - a) * t.alpha, (2 - a) * t.sigma - square / t.sigma, fresh)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: NoisyMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        return move.apply(denoiser, x, draws), None


AncestralPredictorVE = Ancestral(1.0, fixed_small)
"""Fresh variance σ_s²(σ_t² − σ_s²)/σ_t² where α = 1 (Song et al. 2021, eq. 47)."""
AncestralPredictorVP = Ancestral(1.0, fixed_large)
"""(x + β score)/√(1 − β) with fresh variance β (Song et al. 2021, eq. 4)."""
