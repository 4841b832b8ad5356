"""Euler–Maruyama on the reverse SDE dx = [f x − g² score] dt + g dw̄ (Anderson 1982; Song et al. 2021, eq. 6)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True, slots=True)
class NoisyMove:
    """x_s = mean·E[x_0 | x_t] + noise·E[z | x_t] + fresh·z."""

    level: Level
    mean: float
    noise: float
    fresh: float
    evaluations: ClassVar[int] = 1

    @property
    def random(self) -> bool:
        return self.fresh > 0

    def apply(self, denoiser: Denoiser, x: Tensor, draws: Draws) -> Tensor:
        moved = denoiser.estimate(x, self.level).read(self.mean, self.noise)
        return torch.add(moved, draws.normal_like(x), alpha=self.fresh) if self.fresh else moved


@dataclass(frozen=True)
class EulerMaruyama:
    """x_s = x_t − (t − s)(f x_t − g² score) + g √(t − s) z: first order in t, one evaluation per step.

    Into clean data, where t measures nothing, the step returns E[x_0 | x_t]. Needs α > 0, where f is finite.
    """

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[NoisyMove]:
        start = levels[0]
        if min(level.alpha for level in levels) == 0:
            raise UserError(
                "the drift of the SDE is infinite where α = 0, where this grid starts: use DDPM or the flow"
            )
        if levels[-1].ratio > start.ratio:
            raise UserError("the reverse SDE goes from noise to data; towards noise use the probability flow")
        times = torch.tensor([level.t for level in levels[:-1]], dtype=torch.float64)
        drift, square = path.drift(times).tolist(), path.diffusion_squared(times).tolist()
        return [
            self._move(t, s, f, g2) for (t, s), f, g2 in zip(itertools.pairwise(levels), drift, square, strict=True)
        ]

    def _move(self, t: Level, s: Level, f: float, g2: float) -> NoisyMove:
        if s.sigma == 0:
            return NoisyMove(t, 1.0, 0.0, 0.0)
        gap = t.t - s.t
        return NoisyMove(t, (1 - gap * f) * t.alpha, (1 - gap * f) * t.sigma - gap * g2 / t.sigma, (gap * g2) ** 0.5)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: NoisyMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        return move.apply(denoiser, x, draws), None
