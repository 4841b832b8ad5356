"""`pushforward doctor`: whether this installation can work here."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pushforward.cli.output import DEFAULT, Common
from pushforward.errors import PushforwardError

_PACKAGES = ("torch", "numpy", "safetensors", "accelerate", "pydantic", "pillow", "scikit-learn", "pyarrow")


def doctor(
    folder: Annotated[Path, Parameter(name="FOLDER", help="where runs are to be written")] = Path(),
    /,
    *,
    common: Common = DEFAULT,
) -> None:
    """Check the installation: versions, devices, and that files written here reach the disk."""
    import torch

    from pushforward import __version__

    values: dict[str, Any] = {
        "pushforward": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        **{name: _version(name) for name in _PACKAGES},
        "threads": torch.get_num_threads(),
        "devices": _devices(),
        "disk": _disk(folder),
    }
    lines = [f"{name:<14}{_shown(value)}" for name, value in values.items()]
    common.result(values, *lines, "all is well")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _shown(value: Any) -> str:
    return "not installed" if value is None else ", ".join(value) if isinstance(value, list) else str(value)


def _devices() -> list[str]:
    import torch

    found = ["cpu"]
    for i in range(torch.cuda.device_count()):
        found.append(f"cuda:{i} {torch.cuda.get_device_name(i)}")
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _disk(folder: Path) -> str:
    """Write, fsync, rename and read back a small file, as checkpoints are written."""
    path, moved = folder / f".doctor-{os.getpid()}", folder / f".doctor-{os.getpid()}-moved"
    data, began = os.urandom(1 << 16), time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        path.rename(moved)
        if moved.read_bytes() != data:
            raise PushforwardError(f"{folder.resolve()} gives back other bytes than were written: do not train there")
    except OSError as error:
        raise PushforwardError(f"{folder.resolve()} cannot be written: {error.strerror}; choose another") from None
    finally:
        path.unlink(missing_ok=True)
        moved.unlink(missing_ok=True)
    return f"{folder.resolve()}: written, synced and read back in {1000 * (time.perf_counter() - began):.1f} ms"
