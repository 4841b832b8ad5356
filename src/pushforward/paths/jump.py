"""The corruption of discrete data: a continuous-time Markov chain whose rates β(t) R have one generator R.

q(x_t | x_0) = e^{c(t) R}, c = ∫β, each site by itself (Campbell et al. 2022). Its levels have α = e^{−gap·c}, what is
left of what the chain remembers longest (for the uniform and the absorbing chain the share of sites that kept their
symbol), and σ = 1 − α; so grids, the loop of the samplers and their observers are those of Gaussian paths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.counting import categorical
from pushforward.numerics.random import Draws
from pushforward.paths.amounts import Amount
from pushforward.paths.gaussian import Level
from pushforward.paths.generators import Generator


@dataclass(frozen=True)
class JumpPath:
    """A generator and how much it has acted by each time; t in [t_min, t_max], data side first."""

    generator: Generator
    amount: Amount
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.t_min < self.t_max <= 1:
            raise UserError(f"a path needs 0 < t_min < t_max ≤ 1; got {self.t_min} and {self.t_max}")

    def level(self, t: Scalar | Level) -> Level:
        """The time t with its shares kept and lost. Raises UserError for a time outside [0, 1]."""
        if isinstance(t, Level):
            return t
        if isinstance(t, Tensor) and t.ndim:
            forgotten = self.generator.gap * self.amount.total(t.double())
            return Level(t.double(), torch.exp(-forgotten), -torch.expm1(-forgotten))
        time = float(t)
        if not 0 <= time <= 1:
            raise UserError(f"a time lies in [0, 1], 0 the data; got {time}")
        c = self.generator.gap * float(self.amount.total(torch.tensor(time, dtype=torch.float64)))
        return Level(time, math.exp(-c), -math.expm1(-c))

    def levels(self, times: Sequence[float] | Tensor) -> tuple[Level, ...]:
        """The levels of a grid of times."""
        return tuple(self.level(float(t)) for t in times)

    def hiding(self, count: Tensor, sites: int) -> Level:
        """The level at which so many of the sites, int64 (B,), are hidden: for networks that are told the time."""
        return self.level(self.t_min + (self.t_max - self.t_min) * count.double() / sites)

    def inside(self, level: Level) -> Level:
        """The level, or one just before it where β is infinite: there all symbols have been masked."""
        last = 1 - 1e-9
        if isinstance(level.t, Tensor):
            return self.level(level.t.clamp(max=last))
        return self.level(min(level.t, last))

    def total(self, level: Level) -> Scalar:
        """c at a level: a float, or float64 (B,)."""
        return self._of(self.amount.total, level)

    def speed(self, level: Level) -> Scalar:
        """β at a level."""
        return self._of(self.amount.speed, level)

    @staticmethod
    def _of(function: object, level: Level) -> Scalar:
        time = torch.as_tensor(level.t, dtype=torch.float64)
        value = function(time)  # type: ignore[operator]
        return value if time.ndim else float(value)

    def corrupt(self, x0: Tensor, level: Level, draws: Draws) -> Tensor:
        """A draw of q(x_t | x_0): int64 (B, …) -> (B, …)."""
        return self.generator.corrupt(x0, self.total(level), draws)

    def likelihood(self, x: Tensor, level: Level) -> Tensor:
        """q(x_t = x | x_0 = ·) for every symbol, float64: (B, …) -> (B, …, symbols)."""
        return self.generator.column(x, self.total(level))[..., : self.generator.symbols]

    def forward_rates(self, x: Tensor, level: Level) -> Tensor:
        """R_t(x, y) for every y ≠ x, 0 at x, float64: (B, …, states)."""
        rates = self.generator.out(x)
        return expand(self.speed(level), rates) * rates

    def prior(self, draws: Draws, shape: Sequence[int]) -> Tensor:
        """Draws of the law that the chain tends to: int64 (B, *shape)."""
        law = self.generator.limit().to(draws.base.device)
        return categorical(law.expand(len(draws), *shape, -1), draws)
