"""Where the training runs: one device or several processes, through Accelerate, and what they say to one another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from pushforward.errors import PushforwardError, UserError
from pushforward.training.recipe import Precision

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """The device of this process and its number among all; `alone` copies take no part in any exchange."""

    accelerator: Accelerator
    rank: int
    world: int

    @staticmethod
    def find(device: str | None, precision: Precision) -> Place:
        """The place this process was started for (`torchrun`, `accelerate launch` or alone).

        Raises `UserError` where the device is unknown or absent.
        """
        _check(device)
        AcceleratorState._reset_state(reset_partial_state=True)  # else the first training of a process fixes all later
        mixed = "bf16" if precision is Precision.BF16 else "no"
        with _environment("ACCELERATE_TORCH_DEVICE", None if device in (None, "cpu") else device):
            # Several processes find one another on CPUs only where it is said that these are meant.
            accelerator = Accelerator(cpu=device == "cpu" or (device is None and _only_cpus()), mixed_precision=mixed)
        return Place(accelerator, accelerator.process_index, accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.accelerator.device

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files and talks."""
        return self.rank == 0

    @property
    def waits(self) -> bool:
        """Whether reading a number from the device holds up its queue (it does not on a CPU)."""
        return self.device.type != "cpu"

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with mixed precision and, among several processes, with its gradients averaged over them."""
        alone = self.world < self.accelerator.num_processes  # else every gradient would wait for the other processes
        return self.accelerator.prepare_model(module, evaluation_mode=alone)

    def local(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Within this block gradients stay in this process, unless it is the `last` part of a step."""
        return nullcontext() if last or self.world == 1 else self.accelerator.no_sync(module)

    def precision(self) -> AbstractContextManager[Any]:
        """Mixed precision for what is computed outside a wrapped module."""
        return self.accelerator.autocast()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        return values if self.world == 1 else self.accelerator.reduce(values, "sum")

    def maximum(self, values: Tensor) -> list[float]:
        """The elementwise maximum over all processes, as numbers."""
        if self.world == 1:
            return values.tolist()
        return self.accelerator.gather(values[None]).amax(0).tolist()

    def together(self, work: Callable[[], T]) -> T:
        """The result of work done by the main process alone, or its error, in every process."""
        if self.world == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.main:
            try:
                outcome[0] = work()
            except PushforwardError as error:
                outcome[1] = error
        broadcast_object_list(outcome, from_process=0)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]


def _only_cpus() -> bool:
    found = getattr(torch, "accelerator", None)  # since torch 2.6
    return not (found.is_available() if found else torch.cuda.is_available() or torch.backends.mps.is_available())


def _check(device: str | None) -> None:
    if device is None:
        return
    try:
        kind = torch.device(device)
    except RuntimeError:
        raise UserError(f"{device!r} is not a device; expected cpu, cuda, cuda:1, mps, ….") from None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind.type, True):
        raise UserError(f"The device {device!r} is not available here; leave it out to use the fastest there is.")
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise UserError(f"The device {device!r} does not exist; there are {torch.cuda.device_count()} CUDA devices.")


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Within this block an environment variable has a value; None leaves it as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


@contextmanager
def deterministic(wanted: bool, device: torch.device) -> Iterator[None]:
    """Within this block torch prefers kernels whose results repeat to the bit; its switches are put back afterwards."""
    if not wanted:
        yield
        return
    # the debug mode is the same switch as `use_deterministic_algorithms`, without its import of a compiler (1.7 s)
    before, memory = torch.get_deterministic_debug_mode(), cast(Any, torch.utils.deterministic)
    fill, benchmark = memory.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    with _environment("CUBLAS_WORKSPACE_CONFIG", ":4096:8" if device.type == "cuda" else None):
        try:
            torch.set_deterministic_debug_mode("warn")
            memory.fill_uninitialized_memory = False
            torch.backends.cudnn.benchmark = False
            yield
        finally:
            torch.set_deterministic_debug_mode(before)
            memory.fill_uninitialized_memory = fill
            torch.backends.cudnn.benchmark = benchmark
