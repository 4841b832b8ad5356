"""The training loop: steps, and at the right ones the log, validation, previews and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pushforward.errors import Interrupted, NumericalError, PushforwardError
from pushforward.training import folder
from pushforward.training.calibration import steps_in
from pushforward.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pushforward.training.ema import using
from pushforward.training.hooks import ranked_by_validation
from pushforward.training.memory import peak_memory
from pushforward.training.monitor import Monitor
from pushforward.training.observers import Best, Event, JsonLines, Observer
from pushforward.training.place import Place, deterministic
from pushforward.training.recipe import Recipe, as_plain
from pushforward.training.resume import check_same, load_into, non_finite, planned_steps, tensors_of
from pushforward.training.schedule import learning_rate
from pushforward.training.signals import StopRequest
from pushforward.training.step import Items, Stepper
from pushforward.training.storage import SCHEMA
from pushforward.training.validation import lowest, validate

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Outcome:
    """How a training ended: `step` of `total` taken, the last checkpoint, the best if there was a validation."""

    step: int
    total: int
    checkpoint: Path
    best: Best | None
    seconds: float
    notes: tuple[str, ...]


def fit(
    model: nn.Module,
    train: Items,
    validation: Items | None,
    recipe: Recipe,
    out: Path | str,
    description: Mapping[str, Any],
    *,
    identity: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    restart: bool = False,
) -> Outcome:
    """Train a model (see `Trainable`) in a folder; where the folder holds an unfinished run, continue it exactly.

    The model ends with the weights of the last step; the averages are in the checkpoints (`load_weights`).

    Args:
        description: stored as `config.json`: what is needed to build the model again and to read the data.
        identity: what must be the same for a run to be continued; the whole description if left out.
        restart: begin anew; a run that is there is moved to `<out>.previous-N`.

    Raises:
        UserError: the folder is in use, or holds a run of another recipe, model or data.
        NumericalError: a loss or gradient was not finite; the last good checkpoint is kept.
        Interrupted: SIGINT or SIGTERM; the step was finished and saved.
        PushforwardError: a file could not be written; the previous checkpoint is intact.
    """
    out = Path(out)
    with ExitStack() as stack:
        place = Place.find(recipe.device, recipe.precision)
        stop = stack.enter_context(StopRequest())
        notes = place.together(lambda: _own(stack, out, restart))
        stack.enter_context(deterministic(recipe.deterministic, place.device))
        path, skipped = place.together(lambda: folder.newest_intact(out))
        notes += skipped
        found = read_checkpoint(path) if path else None
        if found:
            check_same(found, recipe, description if identity is None else identity)
            total, changed = planned_steps(found, recipe)
            notes += [changed] if changed else []
        model.to(place.device)
        if not found:
            total = recipe.steps or steps_in(recipe.minutes or 0, model, train, validation, recipe, place, stop)
        stepper = Stepper(model, train, recipe, place)
        stack.callback(stepper.release)
        fixed = {"recipe": as_plain(recipe), "identity": as_plain(description if identity is None else identity)}
        watching = (JsonLines(out / METRICS), *observers) if place.main else ()
        run = _Run(stepper, validation, total, out, as_plain(description), fixed, watching, stop, notes)
        return run.go(found)


def _own(stack: ExitStack, out: Path, restart: bool) -> list[str]:
    """Lock the folder, moved aside before if the run is to begin anew, and clean up after killed writes."""
    notes = []
    if restart and (out / folder.CHECKPOINTS).exists():
        with folder.locked(out):
            notes.append(f"The earlier run is now in {folder.set_aside(out)}.")
    stack.enter_context(folder.locked(out))
    folder.clean(out)
    return notes


class _Run:
    """The state of one call of `fit`."""

    def __init__(
        self,
        stepper: Stepper,
        validation: Items | None,
        total: int,
        out: Path,
        config: dict[str, Any],
        fixed: dict[str, Any],
        observers: Sequence[Observer],
        stop: StopRequest,
        notes: list[str],
    ) -> None:
        self.stepper, self.recipe, self.place = stepper, stepper.recipe, stepper.place
        self.items, self.total, self.out = validation, total, out
        self.config, self.fixed, self.observers, self.stop, self.notes = config, fixed, observers, stop, notes
        self.monitor = Monitor(stepper.objectives, stepper.place)
        self.ranked = ranked_by_validation(stepper.model)
        self.taken, self.saved, self.stopping = 0, -1, False
        self.best: Best | None = None
        self.history: list[dict[str, Any]] = []
        self.seconds, self.began, self.saved_at = 0.0, time.perf_counter(), time.perf_counter()
        self.pace = _Pace(0)

    # -- the loop ------------------------------------------------------------------------------------------------

    def go(self, found: Checkpoint | None) -> Outcome:
        if found:
            self._restore(found)
        self._tell(lambda o, e: o.start(e), path=found.path if found else None)
        for note in self.notes:
            self._tell(lambda o, e: o.note(e), message=note)
        try:
            if not found:
                self._save()  # an unwritable disk is found before any work is done, and the calibration is kept
            self.pace = _Pace(self.taken)
            while self.taken < self.total and not self.stopping:
                self._advance()
            self._finish()
        finally:
            self._tell(lambda o, e: o.end(e))
        return Outcome(self.taken, self.total, self._last(), self.best, self._elapsed(), tuple(self.notes))

    def _advance(self) -> None:
        results = self.stepper.step(self.taken, self.total, figures=self._logged(self.taken + 1))
        self.taken += 1
        self.monitor.record(self.taken, results)
        logging, scoring, previewing, saving = self._due()
        now = not self.place.waits or self.taken % 10 == 0 or logging or scoring or previewing or saving
        if now:
            stopping, late = self._check()
            self.stopping, saving = stopping, saving or late
        if logging:
            self._log()
        improved = scoring and self._validate()
        if previewing:
            self._preview()
        if saving or improved:
            self._save()
        if self.place.world == 1:  # several processes have to agree, in `_check`
            self.stopping = self.stop.requested

    def _due(self) -> tuple[bool, bool, bool, bool]:
        """Whether this step is one to log, to validate, to preview and to save at: functions of its number alone."""
        taken, recipe, last = self.taken, self.recipe, self.taken == self.total
        scoring = self.items is not None and len(self.items) > 0 and recipe.validates(taken, self.total)
        previewing = last or taken % (recipe.preview_every or recipe.validation_interval(self.total)) == 0
        saving = bool(recipe.save_every) and taken % (recipe.save_every or 1) == 0
        return self._logged(taken), scoring, previewing, saving

    def _logged(self, step: int) -> bool:
        return step == self.total or step % self.recipe.log_every == 0

    def _check(self) -> list[bool]:
        wait = self.recipe.save_seconds
        late = wait is not None and time.perf_counter() - self.saved_at >= wait
        try:
            return self.monitor.check(self.stop.requested, late)
        except NumericalError as error:
            raise NumericalError(
                f"{error}. Nothing was saved after it; the last good checkpoint is {self._last()}. "
                "Lower the learning rate, or look for extreme values in the data."
            ) from None

    def _finish(self) -> None:
        if self.saved != self.taken:
            self._check()
            self._save()
        if self.taken < self.total:
            raise Interrupted(
                f"Interrupted ({self.stop.name or 'a signal elsewhere'}): step {self.taken} of {self.total} is saved "
                f"in {self._last()}; the same command continues."
            )

    # -- what happens at some steps ------------------------------------------------------------------------------

    def _log(self) -> None:
        losses, norms = self.monitor.means()
        figures = self.monitor.figures()
        self.monitor.clear()
        speed = self.pace.mark(self.taken)
        rate = learning_rate(
            self.recipe.learning_rate, self.recipe.schedule, self.recipe.warmup_steps, self.taken - 1, self.total
        )
        self._tell(
            lambda o, e: o.step(e),
            losses=losses,
            gradient_norms=norms,
            figures=figures,
            learning_rate=rate,
            speed=speed,
            seconds_left=(self.total - self.taken) / speed if speed else None,
            memory=peak_memory(self.place.device),
        )

    def _validate(self) -> bool:
        """Score the validation split; returns whether it has never been better (and that says something)."""
        assert self.items is not None
        losses = validate(self.stepper, self.items)
        self.history.append({"step": self.taken, "losses": losses})
        found = lowest(losses) if self.ranked else None
        improved = found is not None and (self.best is None or found[1] < self.best.value)
        if found and improved:
            self.best = Best(self.taken, found[1], found[0])
        self._tell(lambda o, e: o.validation(e), validation=losses)
        return improved

    def _preview(self) -> None:
        if self.observers:
            averages = {a.name: a.tensors for a in self.stepper.averages}
            with using(self.stepper.model, averages.get(self._best_weights())):
                self._tell(lambda o, e: o.preview(e, self.stepper.model))

    def _best_weights(self) -> str:
        """The weights to look at now: those that last validated best; without that the longest average."""
        found = lowest(self.history[-1]["losses"]) if self.history and self.ranked else None
        return found[0] if found else max((a.name for a in self.stepper.averages), default="model")

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _save(self) -> None:
        pending = self.monitor.state()  # every process takes part in the sum
        self._tell(lambda o, e: o.saving(e))
        self.place.together(lambda: self._write(pending))
        self.saved, self.saved_at = self.taken, time.perf_counter()
        self._tell(lambda o, e: o.checkpoint(e), path=self._last())

    def _write(self, pending: dict[str, Any]) -> None:
        path, groups = folder.checkpoint_path(self.out, self.taken), tensors_of(self.stepper)
        wrong = non_finite(groups)
        if wrong:
            raise NumericalError(
                f"Step {self.taken}: {wrong} is not finite; it was not saved. The last good one: {self._last()}."
            )
        try:
            write_checkpoint(path, self.config, self._state(pending), groups)
        except OSError as error:
            kept = f"step {self.saved} in {self._last()} is intact" if self.saved >= 0 else "there is no earlier one"
            raise PushforwardError(
                f"The checkpoint of step {self.taken} could not be saved in {path.parent}: {error.strerror}; {kept}. "
                "Make room or choose another folder, then give the same command again."
            ) from None
        folder.keep(self.out, self.recipe.keep_last, self.best.step if self.best else None)

    def _state(self, pending: dict[str, Any]) -> dict[str, Any]:
        here = self.history[-1] if self.history and self.history[-1]["step"] == self.taken else None
        value = lowest(here["losses"]) if here and self.ranked else None
        return {
            "schema": SCHEMA,
            **self.fixed,
            "step": self.taken,
            "total": self.total,
            "best": asdict(self.best) if self.best else None,
            "value": value[1] if value else None,
            "best_weights": self._best_weights(),
            "history": self.history,
            "pending": pending,
            "seconds": self._elapsed(),
            "torch": torch.__version__,
        }

    def _restore(self, found: Checkpoint) -> None:
        load_into(self.stepper, found)
        state = found.state
        self.taken = self.saved = found.step
        self.best = Best(**state["best"]) if state["best"] else None
        self.history, self.seconds = list(state["history"]), float(state["seconds"])
        self.monitor.load(state["pending"])

    # -- telling -----------------------------------------------------------------------------------------------------

    def _last(self) -> Path:
        return folder.checkpoint_path(self.out, max(0, self.saved))

    def _elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self.began

    def _tell(self, call: Callable[[Observer, Event], None], **what: Any) -> None:
        event = replace(Event(self.taken, self.total, seconds=self._elapsed(), best=self.best), **what)
        for observer in self.observers:
            call(observer, event)


class _Pace:
    """Steps per second, recent ones weighing more."""

    def __init__(self, step: int) -> None:
        self._step, self._time, self._speed = step, time.perf_counter(), 0.0

    def mark(self, step: int) -> float:
        now = time.perf_counter()
        if step > self._step:
            speed = (step - self._step) / max(1e-9, now - self._time)
            self._speed = speed if not self._speed else 0.7 * self._speed + 0.3 * speed
        self._step, self._time = step, now
        return self._speed
