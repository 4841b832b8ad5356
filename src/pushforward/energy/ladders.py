"""Ladders of densities from one that is drawn from exactly to one known up to its constant.

A ladder has a position from 0 (the base) to 1 (the target) and any number of rungs may be set on it. Going up a rung a
point may be carried by a bijection, whose log-determinant counts (escorted annealing, Vaikuntanathan & Jarzynski 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pushforward.denoisers.terminal import Moments
from pushforward.energy.point import Point, Target, target_of
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level


class Carried(NamedTuple):
    """A point moved to another rung, and log |det| of the move *up* there: float64 (B,)."""

    x: Tensor
    log_det: Tensor


class Ladder(Protocol):
    """Unnormalised densities γ_u for u in [0, 1]; γ_0 is normalised."""

    def start(self, draws: Draws) -> Tensor:
        """x ~ γ_0, one under each key: (B, …)."""
        ...

    def target(self, u: float) -> Target:
        """γ_u."""
        ...

    def unit(self, u: float) -> float:
        """The square of the length that a Langevin step at u is measured in."""
        ...

    def carry(self, x: Tensor, u: float, v: float) -> Carried:
        """A point of γ_u, carried to γ_v; log |det| is that of the way from the smaller to the larger of u and v."""
        ...


class Start(Protocol):
    """A normalised density that can be drawn from: a flow, a base of flows, `GaussianBase`."""

    def log_prob(self, x: Tensor, /) -> Tensor:
        """log p in nats, differentiable: (B, …) -> (B,)."""
        ...

    def sample(self, draws: Draws, /) -> Tensor:
        """One sample under each key: (B, …)."""
        ...


@dataclass(frozen=True, eq=False)
class GaussianBase:
    """N(m, C), or N(αm, α²C + σ²I) at a level: the moments of the data, as a density that can be drawn from."""

    moments: Moments
    dtype: torch.dtype = torch.float32
    level: Level = CLEAN

    def log_prob(self, x: Tensor, /) -> Tensor:
        return self.moments.log_prob(x, self.level).to(x.dtype)

    def sample(self, draws: Draws, /) -> Tensor:
        z = draws.normal(self.moments.mean.shape, torch.float64)
        return self.moments.colour(z, self.level).to(self.dtype)


@dataclass(frozen=True, eq=False)
class Tempered:
    """γ_u = base^{1−u} γ^u: the geometric path (Neal 2001). `scale` is a length on which γ varies, to begin with."""

    base: Start
    log_density: Callable[[Tensor], Tensor]
    scale: float = 1.0

    def start(self, draws: Draws) -> Tensor:
        return self.base.sample(draws)

    def target(self, u: float) -> Target:
        if u == 0:
            return target_of(self.base.log_prob)
        if u == 1:
            return target_of(self.log_density)
        return target_of(lambda x: (1 - u) * self.base.log_prob(x) + u * self.log_density(x))

    def unit(self, u: float) -> float:
        return self.scale**2

    def carry(self, x: Tensor, u: float, v: float) -> Carried:
        return Carried(x, torch.zeros(len(x), dtype=torch.float64, device=x.device))


class NoisyTarget(Protocol):
    """A density at every noise level: what an energy E(x, σ) is."""

    @property
    def path(self) -> GaussianPath: ...

    def point(self, x: Tensor, level: Level, /) -> Point:
        """x with −E(x, σ) and its gradient."""
        ...


@dataclass(frozen=True, eq=False)
class NoiseLadder:
    """γ_u = exp(−E(x, σ_u)), σ_u/α_u falling geometrically from `first` to `last`; γ_0 = N(αm, α²C + σ²I) at `first`.

    Modes part by themselves as the noise falls, so no chain has to cross between them. Points are carried by the map
    that takes one rung's Gaussian to the next one's: on Gaussian data all weights are then equal, however few rungs.
    """

    energy: NoisyTarget
    moments: Moments
    first: Level
    last: Level
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if not 0 < self.last.ratio < self.first.ratio < math.inf:
            raise UserError(
                f"a ladder of noise falls between two levels with 0 < σ/α < ∞; got {self.first.ratio:g} "
                f"to {self.last.ratio:g}"
            )

    def level(self, u: float) -> Level:
        """The noise level at a position."""
        if u in (0.0, 1.0):
            return self.last if u else self.first
        log_ratio = self.first.log_ratio + u * (self.last.log_ratio - self.first.log_ratio)
        path = self.energy.path
        return path.level(float(path.time(torch.tensor(log_ratio, dtype=torch.float64))))

    def start(self, draws: Draws) -> Tensor:
        return GaussianBase(self.moments, self.dtype, self.first).sample(draws)

    def target(self, u: float) -> Target:
        level = self.level(u)
        if u == 0:
            return target_of(GaussianBase(self.moments, self.dtype, level).log_prob)
        return lambda x: self.energy.point(x, level)

    def unit(self, u: float) -> float:
        return float(self.level(u).sigma) ** 2

    def carry(self, x: Tensor, u: float, v: float) -> Carried:
        here, there = self.level(u), self.level(v)
        moved = self.moments.colour(self.moments.whiten(x, here), there).to(x.dtype)
        grown = self.moments.log_prob(x, here) - self.moments.log_prob(moved, there)
        return Carried(moved, grown if u < v else -grown)
