"""What a check is: a claim of the tutorial, what it is held against, and how far off it may be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """A measured error, and what else is worth reading beside it."""

    error: float
    shown: str = ""


Measure = Callable[[], float | Finding]
"""The largest error found: at most the tolerance, or the check fails. What is checked is an argument with a default, so
that tests can put something wrong in its place."""


@dataclass(frozen=True)
class Row:
    """The outcome of one check."""

    name: str
    tutorial: str
    compared: str
    measured: float
    tolerance: float
    seconds: float
    shown: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is a number (not nan) and within the tolerance."""
        return self.measured <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "tutorial": self.tutorial,
            "compared": self.compared,
            "measured": self.measured,
            "tolerance": self.tolerance,
            "passed": self.passed,
            "shown": self.shown,
            "seconds": round(self.seconds, 4),
        }


@dataclass(frozen=True)
class Check:
    """`name`, the identity; `tutorial`, its section (T07); `compared`, what with what; and how the error is measured.

    What it is compared with never comes from the code under test: it is a quadrature, a closed form, automatic
    differentiation, a published number, or a simulation, whose error is then measured in its own standard errors.
    """

    name: str
    tutorial: str
    compared: str
    tolerance: float
    measure: Measure

    def __call__(self) -> Row:
        """Run it. A check that raises has failed, and says why."""
        began = time.perf_counter()
        try:
            found = self.measure()
        except Exception as reason:
            found = Finding(math.inf, f"{type(reason).__name__}: {reason}")
        error, shown = found if isinstance(found, Finding) else Finding(float(found))
        seconds = time.perf_counter() - began
        return Row(self.name, self.tutorial, self.compared, abs(float(error)), self.tolerance, seconds, shown)
