"""How the learning rate moves: a factor in [0, 1] as a function of the step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """(step, total) ↦ the factor on the learning rate, step counted from 0."""

    def __call__(self, step: int, total: int) -> float:
        """The factor at `step` of `total`."""
        ...


@dataclass(frozen=True)
class Constant:
    """The factor 1 throughout."""

    def __call__(self, step: int, total: int) -> float:
        """The factor at `step` of `total`."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 at the first step to `final` at the last: final + (1 − final)(1 + cos πk/n)/2."""

    final: float = 0.0

    def __call__(self, step: int, total: int) -> float:
        """The factor at `step` of `total`."""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, step / total))) / 2


def learning_rate(base: float, schedule: Schedule, warmup: int, step: int, total: int) -> float:
    """The learning rate of a step (from 0): linear warm-up over `warmup` steps, times the schedule."""
    return base * min(1.0, (step + 1) / max(1, warmup)) * schedule(step, total)
