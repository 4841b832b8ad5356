"""How much memory a training has needed."""

from __future__ import annotations

import sys

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
