"""The end of a process: an ordinary one, and that of one among several."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process. One of several (`torchrun`) ends without taking the interpreter apart.

    Gloo's threads hold tensors for a moment after the exchange that these belong to is done, and torch keeps the
    threads of a group that a `DistributedDataParallel` was made for, even when the group is destroyed. A thread that
    lets go of a tensor while the interpreter is being taken apart aborts the process ("terminate called without an
    active exception"), and the launcher takes a run that is saved and whole for a failed one.
    """
    torch = sys.modules.get("torch")
    if torch is None or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        sys.exit(code)
    if code == 0:  # else another process may still wait within an exchange, and destroying would wait for it
        torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
