"""How much memory data may take."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pushforward.errors import UserError

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def default_limit() -> int:
    """A third of the memory that this process may use, in bytes (8 GiB where the system does not say).

    A third, because the data is there twice while it is divided into its splits.
    """
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
    with contextlib.suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        total = min(total, int(_CGROUP.read_text()))
    return total // 3


def check_size(what: str, needed: int, limit: int) -> None:
    """Raise UserError where `needed` bytes are more than may be held."""
    if needed > limit:
        raise UserError(
            f"{what} needs {human(needed)} in memory, and the limit is {human(limit)}: "
            "give a part of it, a smaller dtype, or a larger memory_limit in bytes (--set data.memory_limit=…)."
        )


def human(count: int) -> str:
    """Bytes for people: 1.5 GiB."""
    size, units = float(count), ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units:
        if size < 1024 or unit == units[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
