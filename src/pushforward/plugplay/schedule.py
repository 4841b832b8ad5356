"""Which level of noise the energy is looked at in which step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pushforward.errors import UserError
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import finite_ends

Schedule = Callable[[GaussianPath, int, int], Level | None]
"""(path, step from 0, how many steps) -> the level of that step; None: all levels, drawn by their weights."""


def everywhere(path: GaussianPath, step: int, steps: int) -> None:
    """Every level in every step: the minimum is that of the energy itself, if the start is near enough to find it."""


@dataclass(frozen=True)
class Annealed:
    """From much noise, where the energy is smooth, to little, even in λ.

    Args:
        noisiest, cleanest: σ/α of the first and the last step, kept within the path's own.
        wobble, period: the noise left is multiplied by 1 + wobble · cos(step/period), so that steps look back to
            smoother energies now and then (Graikos et al. 2022).
    """

    noisiest: float = 5.0
    cleanest: float = 0.05
    wobble: float = 0.0
    period: float = 50.0

    def __post_init__(self) -> None:
        _check_wobble(self.wobble, self.period)
        if not 0 < self.cleanest < self.noisiest < math.inf:
            raise UserError(
                f"annealing goes from more noise to less, σ/α above 0; got {self.noisiest} to {self.cleanest}"
            )

    def __call__(self, path: GaussianPath, step: int, steps: int) -> Level:
        first, last = (_inside(-math.log(ratio), path) for ratio in (self.noisiest, self.cleanest))
        left = _left(step, steps, self.wobble, self.period)
        return path.level(float(path.time(torch.tensor(last + left * (first - last), dtype=torch.float64))))


@dataclass(frozen=True)
class AnnealedTimes:
    """From the path's noise end to its data end, even in t: as published for variance-preserving paths."""

    wobble: float = 0.25
    period: float = 50.0

    def __post_init__(self) -> None:
        _check_wobble(self.wobble, self.period)

    def __call__(self, path: GaussianPath, step: int, steps: int) -> Level:
        time = _left(step, steps, self.wobble, self.period) * path.t_max
        return path.level(min(max(time, path.t_min), path.t_max))


def _check_wobble(wobble: float, period: float) -> None:
    if not 0 <= wobble <= 1 or not 0 < period < math.inf:
        raise UserError(f"a wobble lies in [0, 1] and its period is a positive number; got {wobble} and {period}")


def _left(step: int, steps: int, wobble: float, period: float) -> float:
    """The share of the way that is left, in [0, 1]."""
    share = 1 - step / max(1, steps - 1)
    return min(1.0, share * (1 + wobble * math.cos(step / period)))


def _inside(log_ratio: float, path: GaussianPath) -> float:
    first, last = finite_ends(path)
    return min(max(log_ratio, first), last)
