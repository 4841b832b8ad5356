"""How much memory a training has needed."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

import torch


def peak_memory(device: torch.device) -> int | None:
    """The most memory used so far, in bytes: of the GPU if there is one, else of the process; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory() -> None:
    """Begin to measure anew: what comes before no longer counts (on GPUs and on Linux; elsewhere it does).

    What was freed before is given back to the system first: the allocator would else keep it, and a small training
    after a large one seem as large.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
