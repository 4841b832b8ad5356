"""What the steps of this folder share: how much noise is renewed on the way, and the method that binds a step."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.steps.measured import Measured
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level
from pushforward.paths.grids import Grid, check_steps
from pushforward.paths.table import Table, linear_betas
from pushforward.samplers.default import default_sampler, deviation
from pushforward.samplers.step import Observer, Step, simulate, steps_for

Renewal = Callable[[Level, Level], float]
"""(t, s) -> the share of the variance σ_s² that is fresh noise; the rest keeps the direction of the estimated noise."""


@dataclass(frozen=True)
class Constant:
    """η² at every step, as published with DDRM, DDNM and DiffPIR (ζ = η²): more steps renew more noise in all."""

    eta: float = 0.85

    def __post_init__(self) -> None:
        _check_share(self.eta)

    def __call__(self, t: Level, s: Level) -> float:
        return self.eta**2


@dataclass(frozen=True)
class ReverseSDE:
    """η²(1 − (α_t σ_s/(α_s σ_t))²), that of DDPM at η = 1: with more steps the reverse SDE."""

    eta: float = 1.0

    def __post_init__(self) -> None:
        _check_share(self.eta)

    def __call__(self, t: Level, s: Level) -> float:
        return self.eta**2 * (1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2)


def _check_share(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise UserError(f"eta must lie in [0, 1], 0 for no fresh noise; got {eta}")


REVERSE_SDE = ReverseSDE()
ANEW = Constant(1.0)
"""All noise is fresh: each level is a new draw from the last estimate."""


@dataclass(frozen=True, slots=True)
class Move:
    """One interval: x_s = alpha·x̂_0 + kept·noise + fresh·z, kept² + fresh² = σ_s²."""

    level: Level
    alpha: float
    sigma: float
    kept: float
    fresh: float
    evaluations: int = 1

    @property
    def random(self) -> bool:
        return self.sigma > 0


def moves(levels: Sequence[Level], renewal: Renewal) -> list[Move]:
    """One move per interval, from noise to data."""
    found = []
    for t, s in itertools.pairwise(levels):
        if s.ratio > t.ratio:
            raise UserError("a measurement is met on the way from noise to data, not towards more noise")
        share = min(max(renewal(t, s), 0.0), 1.0)
        found.append(Move(t, s.alpha, s.sigma, s.sigma * (1 - share) ** 0.5, s.sigma * share**0.5))
    return found


@dataclass(frozen=True)
class PublishedGrid:
    """n noise levels σ/α of the table of T linear β (10⁻⁴ … 0.02), on any path, then clean data.

    The levels are k = T((n − i)/n)^power, i = 0 … n − 1: evenly, as DDIM has it, or with the power 1/2 denser near
    noise, as DiffPIR. Those beyond the ends of the path are left out, and t_max is the first: where the path ends
    earlier than the table, there are fewer than n steps.
    """

    T: int = 1000
    power: float = 1.0

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        n = check_steps(steps)
        if n > self.T:
            raise UserError(f"a table of {self.T} levels admits at most {self.T} steps; got {n}")
        share = torch.arange(n - 1, 0, -1, dtype=torch.float64) / n
        index = torch.unique(torch.round(self.T * share**self.power).clamp(1, self.T - 1)).flip(0)
        inside = Table.of_betas(linear_betas(self.T)).log_ratio(index / self.T)
        ends = [path.level(t).log_ratio for t in (path.t_max, path.t_min)]
        inside = inside[(inside > ends[0]) & (inside < ends[1])]
        return (path.level(path.t_max), *path.levels(path.time(inside)), CLEAN)


@dataclass(frozen=True)
class Renewed:
    """x_s = α_s mean + √(1 − η²) σ_s noise + η σ_s z with a share η² of fresh noise; one evaluation.

    With `ReverseSDE` it is DDPM and DDIM η; with `Constant` what DDRM, DDNM and DiffPIR run.
    """

    renewal: Renewal = REVERSE_SDE

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[Move]:
        return moves(levels, self.renewal)

    def __call__(self, denoiser: Denoiser, x: Tensor, move: Move, memory: None, draws: Draws, /) -> tuple[Tensor, None]:
        return renewed(denoiser.estimate(x, move.level), move, draws.normal_like(x) if move.random else None), None


def renewed(estimate: Estimate, move: Move, noise: Tensor | None) -> Tensor:
    """alpha·mean + kept·noise + fresh·z."""
    moved = estimate.read(move.alpha, move.kept)
    return moved if noise is None else torch.add(moved, noise, alpha=move.fresh)


@dataclass(frozen=True)
class UsualGrid:
    """That of the default sampler with as many evaluations as there are steps, for data of deviation `sigma_data`."""

    sigma_data: float = 0.5

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        return default_sampler(path, check_steps(steps), self.sigma_data).grid(path, steps)


def grid_for(denoiser: Denoiser, grid: Grid | None) -> Grid:
    """The grid given, else the usual one for the data that the denoiser was made for."""
    return grid or UsualGrid(deviation(denoiser))


class Stepwise(ABC):
    """A method whose measurement is met by a Step: a subclass says by which, and from where it starts."""

    @property
    @abstractmethod
    def levels(self) -> Grid | None:
        """Where the step goes along; None for the usual grid."""

    @abstractmethod
    def step(self, measured: Measured, x: Tensor) -> Step:
        """The step for the measurements of the batch `x`. Raises UserError for operators it has no answer to."""

    def start(self, measured: Measured, x: Tensor, level: Level, draws: Draws) -> Tensor:
        """The first state, at the first level, from the prior's x = σ z."""
        return x

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
        """One draw for each row of the batch; see `Method`."""
        measured = Measured.of(likelihood, x)
        step = self.step(measured, x)
        grid = grid_for(denoiser, self.levels)
        levels = grid(denoiser.path, steps_for(step, denoiser.path, grid, evaluations))
        start = self.start(measured, x, levels[0], draws.at("start"))
        return simulate(denoiser, step, start, levels, draws, observe=observe)
