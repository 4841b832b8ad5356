"""Resuming is exact: a run that was interrupted anywhere equals one that was not, bit for bit."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from small import TIMES, Duel, Points, Small, recipe

from pushforward.errors import Interrupted
from pushforward.training import Observer, find_checkpoint, fit
from pushforward.training.observers import read_log


class StopAt(Observer):
    """Sends a signal to this very process at an entry of the log."""

    def __init__(self, step, number=signal.SIGTERM):
        self.at, self.number = step, number

    def step(self, event):
        if event.step == self.at:
            os.kill(os.getpid(), self.number)


def contents(run):
    found = find_checkpoint(run, "last")
    return {(group, name): tensor for group in found.groups for name, tensor in found.tensors(group).items()}


def assert_same(first, second):
    a, b = contents(first), contents(second)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def log(run):
    return [{k: v for k, v in entry.items() if k not in TIMES} for entry in read_log(run / "metrics.jsonl")]


@pytest.mark.parametrize("build", [Small, Duel])
def test_interrupted_twice_equals_uninterrupted(tmp_path, points, build):
    whole = fit(build(), points, Points(20, 1), recipe(), tmp_path / "whole", {"a": 1})
    for stop in (6, 15):
        with pytest.raises(Interrupted, match=f"step {stop} of 24 is saved"):
            fit(build(), points, Points(20, 1), recipe(), tmp_path / "cut", {"a": 1}, observers=[StopAt(stop)])
    model = build()
    again = fit(model, points, Points(20, 1), recipe(), tmp_path / "cut", {"a": 1})
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert log(tmp_path / "whole") == log(tmp_path / "cut")
    assert again.best == whole.best
    assert len(log(tmp_path / "whole")) == 8 + 3
    assert all(p.requires_grad for p in model.parameters())


def test_amsgrad_and_exponential_averages_are_resumed(tmp_path, points):
    told = recipe(amsgrad=True, ema_decays=(0.9, 0.999))
    fit(Small(), points, None, told, tmp_path / "whole", {})
    with pytest.raises(Interrupted):
        fit(Small(), points, None, told, tmp_path / "cut", {}, observers=[StopAt(9)])
    fit(Small(), points, None, told, tmp_path / "cut", {})
    assert_same(tmp_path / "whole", tmp_path / "cut")
    found = find_checkpoint(tmp_path / "cut")
    assert {"ema-decay-0.9", "ema-decay-0.999"} <= set(found.groups)
    assert any(name.endswith("max_exp_avg_sq") for name in found.tensors("optimizer-loss"))


def test_the_speed_of_a_continued_run_is_that_of_its_own_steps(tmp_path, points):
    class Slow(Small):
        def loss(self, objective, batch, draws):
            time.sleep(0.01)
            return super().loss(objective, batch, draws)

    with pytest.raises(Interrupted):
        fit(Slow(), points, None, recipe(log_every=2), tmp_path, {}, observers=[StopAt(20)])
    fit(Slow(), points, None, recipe(log_every=2), tmp_path, {})
    speeds = [entry["speed"] for entry in read_log(tmp_path / "metrics.jsonl") if "speed" in entry]
    assert len(speeds) == 12 and max(speeds) < 100
