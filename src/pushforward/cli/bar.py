"""A bar of progress, in a terminal and elsewhere."""

from __future__ import annotations

import time

from pushforward.cli.output import Common

_EVERY = 10.0
"""Seconds between the lines that stand for a bar where there is no terminal."""


class Bar:
    """A bar in a terminal with the time left; elsewhere a line now and then. Called with (done, total)."""

    def __init__(self, common: Common, what: str, total: int | None = None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = common.console()
        columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._common, self._what, self._lines = common, what, not console.is_terminal
        self._began = self._said = time.monotonic()
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if self._lines and now - self._said > _EVERY and 0 < done < total:
            self._said = now
            left = (now - self._began) * (total - done) / done
            self._common.say(f"{self._what}: {done} of {total}, about {left:.0f} s left")
