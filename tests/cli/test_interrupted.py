"""A run that is stopped by a signal says so, exits with 75 and is continued exactly by the same command."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import pushforward as pf

SMALL = ["--set", "model.network.width=8", "--set", "training.batch_size=8", "--steps", "400", "--device", "cpu"]
# Previews and validations would take most of the time of so short a run.
SPARSE = ["--set", "training.validate_every=200", "--set", "training.preview_every=400"]


STOPPED = """
import os, signal
from pushforward.cli.main import run
from pushforward.training.step import Stepper

take = Stepper.step

def step(self, number, *more, **named):
    if number == 10:
        os.kill(os.getpid(), signal.SIGTERM)
    return take(self, number, *more, **named)

Stepper.step = step
run()
"""
"""The command line, with a signal in the midst of a step: sent from outside, it could come after the last one."""


def test_sigterm_saves_and_the_same_command_continues_exactly(tmp_path, command):
    np.save(tmp_path / "v.npy", np.linspace(-1, 1, 300, dtype=np.float32).reshape(100, 3) ** 3)

    def train(out: str, *more: str) -> list[str]:
        return ["train", str(tmp_path / "v.npy"), "--out", str(tmp_path / out), *SMALL, *SPARSE, *more]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-c", STOPPED, *train("a", "--quiet")]
    stopped = subprocess.run(program, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=240)
    out, err = stopped.stdout, stopped.stderr
    assert stopped.returncode == 75, err
    assert out == "" and err.startswith("Interrupted (SIGTERM): step 11 of 400 ") and err.count("\n") == 1
    continued, whole = command(*train("a")), command(*train("b", "--json", "--quiet"))
    assert continued.code == 0 and "continuing from step" in continued.err, continued.err
    assert whole.json["step"] == 400
    final = "checkpoints/step-00000400"
    for path in sorted((tmp_path / "b" / final).glob("*.safetensors")):
        assert path.read_bytes() == (tmp_path / "a" / final / path.name).read_bytes(), path.name


def test_a_network_of_ones_own_from_python(tmp_path, refused):
    torch = pytest.importorskip("torch")

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = torch.nn.Linear(4, 3)

        def forward(self, x, time, label=None):
            return self.inside(torch.cat((x, time[:, None].to(x.dtype)), dim=1))

    values = np.linspace(-1, 1, 150, dtype=np.float32).reshape(50, 3) ** 3
    config = pf.configure("training.batch_size=8", "training.ema_lengths=[0.1]")
    run = pf.fit(pf.dataset(values), tmp_path / "run", config, steps=3, network=Mine(), device="cpu")
    assert run.outcome.step == 3
    assert run.generator.sample(5, steps=3).values.shape == (5, 3)
    again = pf.load(tmp_path / "run", network=Mine(), device="cpu")
    assert np.array_equal(again.generator.sample(2, steps=3).values, run.generator.sample(2, steps=3).values)
    assert "network of your own" in refused("sample", tmp_path / "run", "--quiet")
    with pytest.raises(pf.UserError, match=r"was given from Python as arrays and is not stored"):
        again.data()


def test_python_in_a_few_lines(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(240, dtype=np.float32).reshape(60, 4) % 7)
    run = pf.fit(tmp_path / "x.npz", tmp_path / "run", pf.configure("training.batch_size=8"), steps=2, device="cpu")
    samples = pf.load(tmp_path / "run").generator.sample(6, steps=2)
    assert samples.save(tmp_path / "new.csv").read_text().count("\n") == 7
    assert len(run.data().train) + len(run.data().validation) + len(run.data().test) == 60
    again = pf.fit(run.data(), tmp_path / "run", run.config, steps=4)
    assert again.outcome.step == 4 and again.outcome.total == 4
