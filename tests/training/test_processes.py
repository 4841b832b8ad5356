"""Two processes on gloo train as one does, and continue what one began."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small import Aware, Duel, Points, Small, recipe
from test_resume import StopAt

from pushforward.errors import Interrupted
from pushforward.training import find_checkpoint, fit
from pushforward.training.observers import read_log

WORKER = Path(__file__).parent / "worker.py"
HELD = Points(21, 1)


def column(run, name):
    return torch.tensor([entry[name] for entry in read_log(run / "metrics.jsonl") if name in entry])


def assert_alike(first, second, names=("loss", "gradient_norm")):
    for name in names:
        assert len(column(first, name)) > 0
        assert torch.allclose(column(first, name), column(second, name), rtol=1e-4), name
    a, b = find_checkpoint(first, "last"), find_checkpoint(second, "last")
    assert a.step == b.step
    for group in a.groups:
        one, two = a.tensors(group), b.tensors(group)
        assert one.keys() == two.keys()
        assert all(torch.allclose(one[n], two[n], atol=2e-5) for n in one), group
    values = [[row["losses"] for row in c.state["history"]] for c in (a, b)]
    assert [list(v) for v in values[0]] == [list(v) for v in values[1]]
    assert all(abs(x[k] - y[k]) < 1e-5 for x, y in zip(*values, strict=True) for k in x)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes made; they also continue a run of one process, stopped at step 12."""
    root = tmp_path_factory.mktemp("two")
    with pytest.raises(Interrupted):
        fit(Small(), Points(50), HELD, recipe(batch_size=15), root / "continued", {}, observers=[StopAt(12)])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += [str(WORKER), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return root


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    root = tmp_path_factory.mktemp("one")
    fit(Small(), Points(50), HELD, recipe(batch_size=15), root / "whole", {})
    fit(Small(), Points(50), None, recipe(batch_size=1, steps=4), root / "one", {})
    fit(Duel(), Points(50), HELD, recipe(), root / "duel", {})
    fit(Aware(), Points(50), HELD, recipe(batch_size=15), root / "aware", {})
    return root


def test_two_processes_train_as_one(one, two):
    assert_alike(one / "whole", two / "whole")


def test_uneven_parts_and_parts_without_items(one, two):
    assert_alike(one / "whole", two / "accumulated")
    assert_alike(one / "one", two / "one")


def test_two_objectives(one, two):
    names = ("loss/critic", "loss/generator", "gradient_norm/critic", "gradient_norm/generator")
    assert_alike(one / "duel", two / "duel", names)


def test_times_that_follow_the_losses_are_the_same_however_a_step_is_cut(one, two):
    assert_alike(one / "aware", two / "aware")
    seen = find_checkpoint(two / "aware", "last").tensors("model")["times.seen"]
    assert int(seen.sum()) == 24 * 15 and int(seen.min()) > 0


def test_what_one_process_began_two_continue(one, two):
    assert_alike(one / "whole", two / "continued")


def test_what_two_processes_began_one_continues(one, two):
    texts = [(two / f"interrupted-{rank}").read_text() for rank in range(2)]
    assert "(SIGTERM): step 10 of 24" in texts[0] or "(SIGTERM): step 9 of 24" in texts[0]
    assert "a signal elsewhere" in texts[1]
    fit(Small(), Points(50), HELD, recipe(batch_size=15), two / "stopped", {})
    assert_alike(one / "whole", two / "stopped")


def test_every_process_is_told_of_a_mistake(two):
    texts = {(two / f"refused-{rank}").read_text() for rank in range(2)}
    assert len(texts) == 1 and "cannot be continued" in texts.pop()


def test_processes_agree_on_the_steps_of_minutes(two):
    found = find_checkpoint(two / "minutes", "last")
    assert found.step == found.state["total"] > 0


def test_the_same_command_runs_on_several_processes(tmp_path):
    """Without a word about devices, on a machine without GPUs: one run, not two that quarrel over its folder."""
    np.save(tmp_path / "v.npy", np.linspace(-1, 1, 180, dtype=np.float32).reshape(60, 3) ** 3)
    settings = ["--steps", "4", "--set", "model.network.width=8", "--set", "training.batch_size=9"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pushforward"]
    command += ["train", str(tmp_path / "v.npy"), "--out", str(tmp_path / "run"), *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("done: 4 steps") == 1
    assert [entry["step"] for entry in read_log(tmp_path / "run" / "metrics.jsonl") if "loss" in entry] == [4]
