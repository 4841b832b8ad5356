"""How far the training is, for a person: a moving bar in a terminal, else a plain line every half minute."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pushforward.training.observers import Event, Observer


class ProgressBar(Observer):
    """Loss, validation, speed and time left; notes on lines of their own.

    Args:
        console: where to write; the standard error by default.
        every: seconds between lines where there is no terminal.
    """

    def __init__(self, console: Console | None = None, every: float = 30.0) -> None:
        self.console = console or Console(stderr=True)
        self.every = every
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._said = 0.0
        self._validation = ""

    def start(self, event: Event) -> None:
        if event.step:
            self._say(f"continuing from step {event.step} of {event.total}")
        self._said = time.monotonic()
        if self.console.is_terminal:
            columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[what]}")
            self._bar = Progress(*columns, console=self.console)
            self._task = self._bar.add_task("training", total=event.total, completed=event.step, what="")
            self._bar.start()

    def note(self, event: Event) -> None:
        self._say(event.message or "")

    def step(self, event: Event) -> None:
        what = " · ".join(part for part in (_loss(event), self._validation, _pace(event)) if part)
        if self._bar is not None:
            self._bar.update(self._task, completed=event.step, what=what)
        elif event.step == event.total or time.monotonic() - self._said >= self.every:
            self._said = time.monotonic()
            self._say(f"step {event.step}/{event.total} · {what}")

    def validation(self, event: Event) -> None:
        finite = [v for v in (event.validation or {}).values() if v is not None]
        self._validation = f"validation {min(finite):.4g}" if finite else "validation not finite"

    def end(self, event: Event) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _loss(event: Event) -> str:
    single = len(event.losses) == 1
    return " · ".join(f"{'loss' if single else name} {value:.4g}" for name, value in event.losses.items())


def _pace(event: Event) -> str:
    if not event.speed:
        return ""
    left = "" if event.seconds_left is None else f" · {duration(event.seconds_left)} left"
    return f"{event.speed:.3g} steps/s{left}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03, or 2:03 below an hour.

    >>> duration(3723.4)
    '1:02:03'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
