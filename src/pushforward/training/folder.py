"""The folder of one run: its lock, its checkpoints, which of them are kept, and what is done with broken ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pushforward.errors import PushforwardError, UserError
from pushforward.training import storage
from pushforward.training.checkpoint import Checkpoint, read_checkpoint
from pushforward.training.storage import Damaged

CHECKPOINTS, QUARANTINE, LOCK = "checkpoints", "quarantine", ".lock"
_NAME = re.compile(r"step-(\d{8,})")


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is: `checkpoints/step-00001200`."""
    return run / CHECKPOINTS / f"step-{step:08d}"


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, proven or not."""
    found = [(int(m[1]), p) for p in (run / CHECKPOINTS).glob("step-*") if (m := _NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def find_checkpoint(run: Path | str, which: str = "best") -> Checkpoint:
    """The best (on the validation split; without one, the last) or the last intact checkpoint of a run.

    A path of a checkpoint itself is accepted as well. Every file has been proven by its hash.

    Raises:
        UserError: there is no run, or no intact checkpoint in it.
    """
    run = Path(run)
    if which not in ("best", "last"):
        raise UserError(f"A checkpoint is asked for by 'best' or 'last', not by {which!r}.")
    if (run / storage.MANIFEST).exists():
        storage.verify(run)
        return read_checkpoint(run)
    candidates, troubles = [], []
    for path in reversed(list_checkpoints(run)):
        try:
            candidates.append(read_checkpoint(path))
        except Damaged as error:
            troubles.append(str(error))
    if which == "best":  # stable: of equals, and without any value, the newest comes first
        candidates.sort(key=value_at)
    for candidate in candidates:
        try:
            storage.verify(candidate.path)
        except Damaged as error:
            troubles.append(str(error))
        else:
            return replace(candidate, skipped=tuple(troubles))
    if troubles:
        raise UserError(f"{run} holds no intact checkpoint: {troubles[0]}")
    what = "it holds no checkpoints" if run.is_dir() else "it is a file" if run.exists() else "there is no such folder"
    raise UserError(f"{run} is not a run: {what}. Train first, or give the folder of a run.")


def value_at(checkpoint: Checkpoint) -> float:
    """The best validation loss measured at the very step of a checkpoint; infinity if there is none."""
    value = checkpoint.state.get("value")
    return float(value) if isinstance(value, (int, float)) else float("inf")


def newest_intact(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose every file is as written, and a sentence for each one set aside on the way to it.

    Raises:
        PushforwardError: there are checkpoints but none is intact; they are left where they are.
    """
    broken: list[tuple[Path, str]] = []
    for path in reversed(list_checkpoints(run)):
        try:
            storage.verify(path)
            read_checkpoint(path)
        except Damaged as error:
            broken.append((path, str(error)))
        else:
            moved = [(_set_aside(p, run / QUARANTINE), why) for p, why in broken]
            return path, [f"Skipped a broken checkpoint, now in {p}: {why}" for p, why in moved]
    if broken:
        raise PushforwardError(
            f"{run} holds checkpoints but none is intact ({broken[0][1]}); restart moves the run aside and begins anew."
        )
    return None, []


def _set_aside(path: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    target = _free(folder / path.name, "-")
    path.rename(target)
    return target


def _free(path: Path, separator: str) -> Path:
    """The path itself, or the first of path-2, path-3, … that does not exist."""
    number, target = 1, path
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}{separator}{number}")
    return target


def set_aside(run: Path) -> Path | None:
    """Move a run to `<run>.previous-N`, the first free N; returns where it is now, or None if there was none."""
    if not run.exists():
        return None
    number = 1
    while (target := run.with_name(f"{run.name}.previous-{number}")).exists():
        number += 1
    return run.rename(target)


def clean(run: Path) -> None:
    """Remove what killed writes have left."""
    storage.discard_temporaries(run)
    storage.discard_temporaries(run / CHECKPOINTS)


def keep(run: Path, last: int, best: int | None) -> None:
    """Remove all checkpoints but the last few and the best one."""
    paths = list_checkpoints(run)
    kept = {*paths[-last:], *([checkpoint_path(run, best)] if best is not None else [])}
    for path in paths:
        if path not in kept:
            storage.discard(path)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run's folder, created if need be; the lock goes with the process, however it ends.

    Raises:
        UserError: another process trains there. PushforwardError: the folder cannot be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = os.open(run / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise PushforwardError(f"The run folder {run} cannot be written: {error.strerror}.") from None
    try:
        _lock(handle, run)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, run: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks; there two trainers on one folder are not noticed
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        raise UserError(
            f"{run} is in use by another training process (number {owner}): wait for it or give another folder."
        ) from None
    except OSError:  # some network file systems have no locks
        return
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
