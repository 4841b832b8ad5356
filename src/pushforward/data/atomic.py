"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from pushforward.errors import PushforwardError, UserError


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it there."""
    temporary = _beside(path)
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise _failed(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_free(path: Path) -> None:
    """Raise UserError where a folder of this name would stand in the place of something else."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists and is not an empty folder: give another name or empty it first.")


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder, then rename it to `path`, which must not exist or be empty."""
    check_free(path)
    temporary = _beside(path)
    try:
        temporary.mkdir()
        write(temporary)
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        temporary.replace(path)
    except OSError as error:
        raise _failed(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A name in the same folder (renaming is atomic only within one file system), hidden, with the same extension."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(path, error) from error
    return path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _failed(path: Path, error: OSError) -> PushforwardError:
    return PushforwardError(f"{path} could not be written ({error.strerror or error}): nothing was saved there.")
