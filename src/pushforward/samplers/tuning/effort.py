"""How much work tuning does, and the account of it while it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pushforward.errors import UserError

Report = Callable[[float, float, float], None]
"""(done, total, seconds left): work is counted in evaluations of the model."""

GRADIENT = 3
"""What a differentiated evaluation costs, in plain ones."""


@dataclass(frozen=True)
class Effort:
    """How much work tuning does. The defaults suit exact denoisers; an eighth of each count serves networks.

    starts: starting points that are fitted to; batch, steps, rate: of Adam, with cosine decay; trial: the share of
    `steps` that each beginning is given; reference: evaluations that find an endpoint; held_out: starts that decide.
    """

    starts: int = 16384
    batch: int = 512
    steps: int = 1500
    rate: float = 5e-3
    trial: float = 0.1
    reference: int = 128
    validation: int = 4096
    held_out: int = 4096

    def __post_init__(self) -> None:
        counts = (self.starts, self.batch, self.steps, self.reference, self.validation, self.held_out)
        if min(counts) < 1 or not self.rate > 0 or not 0 <= self.trial <= 1:
            raise UserError(
                f"the effort of tuning needs counts of at least 1, a rate above 0, a trial in [0, 1]: {self}"
            )


USUAL = Effort()


class Clock:
    """Counts work and tells how long the rest will take."""

    def __init__(self, effort: Effort, evaluations: int, beginnings: int, progress: Report | None) -> None:
        starts = effort.starts + effort.validation + effort.held_out
        steps = effort.steps + beginnings * round(effort.steps * effort.trial)
        self.total = float(starts * effort.reference + steps * effort.batch * evaluations * GRADIENT)
        self.done, self.progress, self.began = 0.0, progress, time.monotonic()

    def add(self, work: float) -> None:
        self.done = min(self.done + work, self.total)
        if self.progress:
            spent = time.monotonic() - self.began
            self.progress(self.done, self.total, spent * (self.total - self.done) / self.done)
