"""What watches a training: a small event, and what to do at each kind of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pushforward.errors import PushforwardError, UserError
from pushforward.training import storage

TIMES = ("seconds", "speed", "memory")
"""The keys of the log that differ from one run to the next; all others repeat exactly."""


@dataclass(frozen=True)
class Best:
    """Where the loss on the validation split was lowest, and with which weights."""

    step: int
    value: float
    weights: str


@dataclass(frozen=True)
class Event:
    """What is known at an instant of a training; steps are counted from 1, 0 is before the first."""

    step: int
    total: int
    seconds: float = 0.0
    """Time spent training, interruptions left out."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """The mean loss of each objective since the last entry."""
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float | None] = field(default_factory=dict)
    """The model's own figures at this step; None where one is not finite."""
    learning_rate: float | None = None
    speed: float | None = None
    """Steps per second."""
    seconds_left: float | None = None
    memory: int | None = None
    """The most memory used so far, in bytes: of the GPU, or else of the process."""
    validation: Mapping[str, float | None] | None = None
    """The validation loss of each set of weights; None where it is not finite."""
    best: Best | None = None
    path: Path | None = None
    """The checkpoint that was written or that the training continues from."""
    message: str | None = None

    @property
    def loss(self) -> float | None:
        """The mean loss of the first objective."""
        return next(iter(self.losses.values()), None)


class Observer:
    """Methods called by the main process; each does nothing unless it is overridden."""

    def start(self, event: Event) -> None:
        """The training begins, or continues from `event.step`."""

    def note(self, event: Event) -> None:
        """Something the user should know: `event.message`."""

    def step(self, event: Event) -> None:
        """An entry of the log, every `log_every` steps."""

    def validation(self, event: Event) -> None:
        """The validation split has been scored."""

    def preview(self, event: Event, model: nn.Module) -> None:
        """A good time to look: the model is in evaluation mode and holds its best average."""

    def saving(self, event: Event) -> None:
        """A checkpoint is about to be written: what was written so far must be on the disk."""

    def checkpoint(self, event: Event) -> None:
        """A checkpoint has been written to `event.path`."""

    def end(self, event: Event) -> None:
        """The training is over: done, interrupted or failed."""


class JsonLines(Observer):
    """One JSON object per line and entry; after a resume the file is what it would have been without interruption."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, event: Event) -> None:
        kept = [line for line in self._lines() if line["step"] <= event.step]
        try:
            storage.replace_file(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        except OSError as error:
            raise self._failure(error) from None

    def step(self, event: Event) -> None:
        single = len(event.losses) == 1
        losses = {"loss" if single else f"loss/{k}": _short(v) for k, v in event.losses.items()}
        norms = {
            "gradient_norm" if single else f"gradient_norm/{k}": _short(v) for k, v in event.gradient_norms.items()
        }
        figures = {name: None if value is None else _short(value) for name, value in event.figures.items()}
        own = {"figures": figures} if figures else {}
        times = {"seconds": round(event.seconds, 3), "speed": _short(event.speed or 0.0), "memory": event.memory}
        self._append({"step": event.step, **losses, **norms, **own, "learning_rate": event.learning_rate, **times})

    def validation(self, event: Event) -> None:
        losses = {k: None if v is None else _short(v) for k, v in (event.validation or {}).items()}
        self._append({"step": event.step, "validation": losses})

    def saving(self, event: Event) -> None:
        try:
            with self.path.open("ab") as file:
                storage.sync(file.fileno())
        except OSError as error:
            raise self._failure(error) from None

    def _append(self, entry: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise self._failure(error) from None

    def _lines(self) -> list[dict[str, Any]]:
        return read_log(self.path)

    def _failure(self, error: OSError) -> PushforwardError:
        return PushforwardError(f"The log {self.path} could not be written: {error.strerror}.")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a `metrics.jsonl`; a last line that was cut off is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries


def _short(value: float) -> float:
    return float(f"{value:.7g}")


class Preview(Observer):
    """Calls `write(model, folder / step-00001200)` at every preview; what it writes is up to it."""

    def __init__(self, folder: Path, write: Callable[[nn.Module, Path], None]) -> None:
        self.folder, self.write = folder, write

    def preview(self, event: Event, model: nn.Module) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write(model, self.folder / f"step-{event.step:08d}")


class TensorBoard(Observer):
    """Losses, norms, learning rate and validation as TensorBoard scalars.

    Raises `UserError` where the package `tensorboard` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise UserError("TensorBoard is not installed: pip install 'pushforward[tensorboard]'.") from None
        self._open: Callable[[int], Any] = lambda step: SummaryWriter(str(folder), purge_step=step + 1)
        self._writer: Any = None

    def start(self, event: Event) -> None:
        self._writer = self._open(event.step)

    def step(self, event: Event) -> None:
        for name, value in event.losses.items():
            self._writer.add_scalar(f"loss/{name}", value, event.step)
        for name, value in event.gradient_norms.items():
            self._writer.add_scalar(f"gradient_norm/{name}", value, event.step)
        for name, figure in event.figures.items():
            if figure is not None:
                self._writer.add_scalar(f"figure/{name}", figure, event.step)
        if event.learning_rate is not None:
            self._writer.add_scalar("learning_rate", event.learning_rate, event.step)

    def validation(self, event: Event) -> None:
        for name, value in (event.validation or {}).items():
            if value is not None:
                self._writer.add_scalar(f"validation/{name}", value, event.step)

    def end(self, event: Event) -> None:
        if self._writer is not None:
            self._writer.close()
