"""The peak of memory that a training is said to have needed is its own, not that of what came before it."""

import sys

import pytest
import torch

from pushforward.training.memory import peak_memory, reset_peak_memory

MIB = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot forget its peak")
def test_what_was_freed_before_does_not_count():
    cpu = torch.device("cpu")
    reset_peak_memory()
    before = peak_memory(cpu)
    blocks = [bytearray(100_000) for _ in range(2000)]  # small enough for the allocator to keep
    last = bytearray(100_000)  # in use above them, so that it cannot give them back by itself
    assert peak_memory(cpu) > before + 150 * MIB
    del blocks
    reset_peak_memory()
    assert peak_memory(cpu) < before + 50 * MIB
    assert len(last) == 100_000
