"""Noise that is all fresh as long as it hides the measurement's, so that what is not seen learns from what is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.inverse.steps.measured import Measured
from pushforward.inverse.steps.moves import ANEW, REVERSE_SDE, Move, Renewal, moves, renewed
from pushforward.numerics.broadcast import Scalar
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True, slots=True)
class Ways:
    """One interval in two ways: with as much fresh noise as one likes, and along the state by the reverse SDE."""

    renewed: Move
    along: Move
    evaluations: int = 1

    @property
    def level(self) -> Level:
        return self.along.level

    @property
    def random(self) -> bool:
        return self.along.random


def both_ways(levels: Sequence[Level], renewal: Renewal) -> list[Ways]:
    """One per interval, from noise to data."""
    return [Ways(*both) for both in zip(moves(levels, renewal), moves(levels, REVERSE_SDE), strict=True)]


@dataclass(frozen=True, eq=False)
class AnewAbove:
    """x_s = α_s D + σ_s z while σ_s/α_s > `least`, the reverse SDE below; one evaluation.

    Between projections: where diffusion noise hides the measurement's, the state need not keep what it has learned of
    y, which the next projection tells it again, and so it can mend what it got wrong at more noise.
    """

    least: Scalar
    """σ_y/‖A‖, the noise of what is measured best: a float, or (B,)."""

    @staticmethod
    def of(measured: Measured) -> AnewAbove:
        return AnewAbove(measured.sigma / measured.operator.norm(measured.shape))

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Ways]:
        return both_ways(levels, ANEW)

    def __call__(self, denoiser: Denoiser, x: Tensor, ways: Ways, memory: None, draws: Draws, /) -> tuple[Tensor, None]:
        estimate, move = denoiser.estimate(x, ways.level), ways.along
        if not move.random:
            return estimate.mean, None
        noise = draws.normal_like(x)
        if not isinstance(self.least, Tensor):
            return renewed(estimate, ways.renewed if move.sigma > move.alpha * self.least else move, noise), None
        above = torch.lt(move.alpha * self.least.reshape(-1, *[1] * (x.ndim - 1)), move.sigma)
        return torch.where(above, renewed(estimate, ways.renewed, noise), renewed(estimate, move, noise)), None

    def share(self, ways: Ways) -> Scalar:
        """How much of the variance of x_s is fresh: a float, or (B,)."""
        move = ways.along
        along = (move.fresh / move.sigma) ** 2 if move.sigma > 0 else 1.0
        if isinstance(self.least, Tensor):
            return torch.where(move.sigma > move.alpha * self.least, torch.ones_like(self.least), along)
        return 1.0 if move.sigma > move.alpha * self.least else along
