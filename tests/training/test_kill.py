"""Killed at random instants: the short form of `benchmarks/kill_resume.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"


@pytest.mark.parametrize("seed", [3])
def test_four_kills_change_nothing(seed):
    command = [sys.executable, str(BENCHMARK), "--kills", "4", "--steps", "48", "--seed", str(seed), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout)
    assert result["kills"] == 4 and result["different"] == []
    assert {"model.safetensors", "ema-0.050.safetensors", "optimizer-loss.safetensors", "metrics.jsonl"} <= set(
        result["compared"]
    )
