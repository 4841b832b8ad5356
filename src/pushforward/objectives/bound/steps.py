"""The intervals of a grid as a bound sees them: each with its posterior and with the variance the model gives it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level, posterior_scales
from pushforward.paths.grids import check_decreasing
from pushforward.paths.table import Table
from pushforward.samplers.ancestral import FreshNoise

LastVariance = Callable[[Level, float | None], float]
"""(last level, β̃ of the step before or None) -> the decoder's ℓ², which the samplers' rules leave open (β̃ is 0)."""

_FARTHEST = 1e3


def published_last(level: Level, small: float | None) -> float:
    """β̃ of the step before, for either rule: what every published bound of a table takes."""
    return noise_last(level, None) if small is None else small


def noise_last(level: Level, small: float | None) -> float:
    """σ²/α²: right for a last level of little noise, on any grid; β_1 on a table."""
    return float(level.sigma / level.alpha) ** 2


@dataclass(frozen=True)
class Steps:
    """The scalars of all K intervals of a grid, from noise to data: float64 (K,) each."""

    levels: tuple[Level, ...]
    places: Tensor  # (t, α, σ) of the noisier end: (K, 3)
    small: Tensor  # β̃; at the last interval ℓ², where there is no posterior to compare with
    weight: Tensor  # c
    known: Tensor  # the part of ℓ² that does not need Var[x_0 | x_t]
    spread: Tensor  # c² where ℓ² = known + c² Var[x_0 | x_t], else 0

    @staticmethod
    def of(levels: Sequence[Level], variance: FreshNoise, last: LastVariance = published_last) -> Steps:
        """For a grid that ends in clean data. Raises UserError for another."""
        if len(levels) < 2 or levels[-1].sigma != 0:
            raise UserError("the levels of a bound must decrease from noise to clean data (σ = 0 at the last)")
        check_decreasing(levels)
        rows: list[tuple[float, float, float, float]] = []
        for t, s in itertools.pairwise(levels):
            _, weight, small = (float(v) for v in posterior_scales(s, t))
            known, estimated = variance(float(1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2), t, s)
            if s.sigma == 0 and not estimated:
                known = last(t, rows[-1][0] if rows else None)
            rows.append((small if s.sigma > 0 else max(known, 1e-300), weight, known, weight**2 if estimated else 0.0))
        places = [[level.t, level.alpha, level.sigma] for level in levels[:-1]]
        columns = torch.tensor(rows, dtype=torch.float64).unbind(1)
        return Steps(tuple(levels), torch.tensor(places, dtype=torch.float64), *columns)

    def __len__(self) -> int:
        return len(self.levels) - 1

    def to(self, device: torch.device) -> Steps:
        """The same on another device."""
        columns = (self.places, self.small, self.weight, self.known, self.spread)
        return self if self.small.device == device else Steps(self.levels, *(c.to(device) for c in columns))

    def level(self, k: Tensor) -> Level:
        """The noisier levels of intervals k: (B,), one per sample."""
        return Level(*self.places[k].unbind(1))

    def at(self, k: int | Tensor) -> tuple[Scalar, Scalar, Scalar, Scalar]:
        """(β̃, c, known, spread) of an interval for all, or of one per sample (B,)."""
        small, weight, known, spread = self.small[k], self.weight[k], self.known[k], self.spread[k]
        if isinstance(k, int):
            return float(small), float(weight), float(known), float(spread)
        return small, weight, known, spread


def rounding_levels(path: GaussianPath, width: float, steps: int) -> tuple[Level, ...]:
    """t_max, then uniform in (σ/α)^{1/7} down to the error of rounding to cells of `width`, or t_min, then clean data.

    Further down every level would cost bits for digits that the decoder rounds away; above σ/α = 1000 there is nothing
    to learn of data of order one.
    """
    first, last = (float(path.level(t).ratio) for t in (path.t_max, path.t_min))
    top, end = min(first, _FARTHEST), max(width / math.sqrt(12), last)
    ratios = torch.linspace(top ** (1 / 7), end ** (1 / 7), steps, dtype=torch.float64) ** 7
    times = path.time(-torch.log(ratios))
    times[0] = path.t_max
    if end == last:
        times[-1] = path.t_min
    return (*path.levels(times), CLEAN)


def table_levels(table: Table) -> tuple[Level, ...]:
    """All levels of a table from T to 1, then clean data: the grid of the published bound."""
    return (*table.levels(torch.arange(len(table), 0, -1, dtype=torch.float64) / len(table)), CLEAN)
