"""Multistep integration of dy/dt = w(t) f(t, y) with one evaluation per step, the weight w integrated exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.ode import UNIT, Field, Solution, check_finite
from pushforward.numerics.quadrature import Weight, interpolation_weights

Times = Callable[[float, float, int], Sequence[float]]
"""(start, stop, n) -> n + 1 monotone times."""


def uniform_times(start: float, stop: float, steps: int) -> Sequence[float]:
    return torch.linspace(start, stop, steps + 1, dtype=torch.float64).tolist()


@dataclass(frozen=True)
class Bunched:
    """Times t = centre + width sinh(u), u uniform: dense within `width` of the centre, then sparser as 1/|t|."""

    centre: float = 0.0
    width: float = 1.0

    def __call__(self, start: float, stop: float, steps: int) -> Sequence[float]:
        first, last = (math.asinh((end - self.centre) / self.width) for end in (start, stop))
        inner = self.centre + self.width * torch.sinh(torch.linspace(first, last, steps + 1, dtype=torch.float64))
        return [start, *inner[1:-1].tolist(), stop]


@dataclass(frozen=True, slots=True)
class AdamsMove:
    """What is added to y: Σ predict[j]·f_{i−j}, and with the new slope in front, Σ correct[j]·f_{i+1−j}."""

    end: float
    predict: tuple[float, ...]
    correct: tuple[float, ...]


@dataclass(frozen=True)
class Adams:
    """Adams-Bashforth prediction with `order` past slopes, then Adams-Moulton correction with the slope found there.

    The corrected state is not evaluated again, so n steps cost n + 1 evaluations; the order of accuracy is order + 1.
    The order rises from 1 at the start. `corrected=False` is Adams-Bashforth alone: n evaluations, order `order`.
    """

    evaluations: int
    order: int = 4
    times: Times = uniform_times
    corrected: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 6:
            raise UserError(f"the order of a multistep solver must be 1 to 6; got {self.order}")
        if self.steps < 1:
            raise UserError(f"this solver needs at least {1 + self.corrected} evaluations; got {self.evaluations}")

    @property
    def steps(self) -> int:
        return self.evaluations - (1 if self.corrected else 0)

    def plan(self, start: float, stop: float, weight: Weight = UNIT) -> tuple[float, list[AdamsMove]]:
        """The first time and one move per step; float64 coefficients by quadrature."""
        times = list(self.times(start, stop, self.steps))
        return times[0], [self._move(times[: i + 2], weight) for i in range(self.steps)]

    def _move(self, times: Sequence[float], weight: Weight) -> AdamsMove:
        t, s = times[-2], times[-1]
        total = weight.total(t, s)

        def density(points: np.ndarray) -> np.ndarray:
            return weight.density(torch.from_numpy(points)).numpy()

        past = list(reversed(times[:-1]))[: self.order]
        predict = interpolation_weights(past, density, t, s, total)
        correct = interpolation_weights([s, *past], density, t, s, total) if self.corrected else ()
        return AdamsMove(s, predict, correct)

    def __call__(self, field: Field, y: Tensor, start: float, stop: float, weight: Weight = UNIT, /) -> Solution:
        t, moves = self.plan(start, stop, weight)
        slopes: list[Tensor] = [field(t, y, None)]
        for i, move in enumerate(moves):
            ahead = _add(y, move.predict, slopes)
            if not self.corrected:
                y = ahead
                slopes = [field(move.end, y, None), *slopes][: self.order] if i + 1 < len(moves) else slopes
            else:
                slopes = [field(move.end, ahead, None), *slopes]
                y = _add(y, move.correct, slopes)
                slopes = slopes[: self.order]
        check_finite(y, stop)
        spent = torch.full((len(y),), self.evaluations, device=y.device)
        return Solution(y, spent, torch.zeros_like(spent))


def _add(y: Tensor, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    for weight, slope in zip(weights, slopes, strict=False):
        y = torch.add(y, slope, alpha=weight)
    return y
