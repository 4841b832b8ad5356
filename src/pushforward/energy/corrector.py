"""The Metropolis test inside a sampler: moves at a noise level that leave exp(−E(x, σ)) exactly invariant."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.energy.chains import HMC, MALA, Kernel, mala_step
from pushforward.energy.denoiser import energy_of
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True, slots=True)
class MetropolisMove:
    level: Level
    evaluations: int
    random: ClassVar[bool] = True


@dataclass(frozen=True)
class Metropolis:
    """`moves` moves at a level by a kernel with step ε = kernel.step·σ²: `Then(DDIM, Metropolis(MALA(0.3)))`.

    A score network corrected by Langevin dynamics keeps a bias of the order of the step; an energy does not (Du et al.
    2023). Needs a denoiser with an energy; costs one evaluation more than the kernel's own, for where it starts.
    """

    kernel: Kernel
    moves: int = 1

    def __post_init__(self) -> None:
        if self.moves < 1:
            raise UserError(f"a corrector makes at least one move; got {self.moves}")

    @staticmethod
    def of_dim(dim: int, moves: int = 1) -> Metropolis:
        """MALA with the step that suits d dimensions where the density is as wide as the noise."""
        return Metropolis(MALA(mala_step(dim)), moves)

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[MetropolisMove]:
        for t, s in itertools.pairwise(levels):
            if s != t:
                raise UserError(
                    "a Metropolis corrector stays at its noise level; combine it with a step that moves: "
                    "Then(predictor, Metropolis(...))"
                )
        leaps = self.kernel.leaps if isinstance(self.kernel, HMC) else 1
        return [MetropolisMove(level, 1 + leaps * self.moves) for level in levels[:-1]]

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: MetropolisMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        energy, level = energy_of(denoiser), move.level
        kernel = self.kernel.sized(self.kernel.step * level.sigma**2)
        point = energy.point(x, level)
        for i in range(self.moves):
            point = kernel(lambda at: energy.point(at, level), point, draws.at("metropolis", i)).point
        return point.x, None
