"""A disk that is really full, a device that is not to be waited for, and other days."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
import torch
from small import Points, Small, recipe
from test_resume import assert_same, log

from pushforward.errors import Interrupted, NumericalError, PushforwardError, UserError
from pushforward.training import Observer, find_checkpoint, fit
from pushforward.training.place import Place
from pushforward.training.signals import StopRequest
from pushforward.training.step import Stepper


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB, where this machine lets one be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(small_disk, tmp_path, points):
    plan = recipe(steps=60, keep_last=100, save_every=2)
    with pytest.raises(PushforwardError, match="No space left on device"):
        fit(Small(), points, None, plan, small_disk / "run", {})
    found = find_checkpoint(small_disk / "run", "last")
    assert 2 <= found.step < 60
    assert not list((small_disk / "run" / "checkpoints").glob(".tmp-*"))
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    fit(Small(), points, None, plan, small_disk / "run", {})
    fit(Small(), points, None, plan, tmp_path / "whole", {})
    assert_same(tmp_path / "whole", small_disk / "run")
    assert log(tmp_path / "whole") == log(small_disk / "run")


@pytest.fixture
def queued(monkeypatch):
    """Treat the device as one whose queue must not be waited for at every step."""
    monkeypatch.setattr(Place, "waits", property(lambda self: True))


def test_without_waiting_the_step_is_still_named_and_nothing_bad_is_saved(tmp_path, points, queued):
    class Breaks(Small):
        calls = 0

        def loss(self, objective, batch, draws):
            self.calls += 1
            value = super().loss(objective, batch, draws)
            return value * float("nan") if self.calls == 13 else value

    with pytest.raises(NumericalError, match="Step 13: the loss 'loss'"):
        fit(Breaks(), points, None, recipe(log_every=100, save_every=11), tmp_path, {})
    assert find_checkpoint(tmp_path, "last").step == 11


def test_without_waiting_the_result_is_the_same(tmp_path, points, monkeypatch):
    fit(Small(), points, None, recipe(), tmp_path / "a", {})
    monkeypatch.setattr(Place, "waits", property(lambda self: True))
    fit(Small(), points, None, recipe(), tmp_path / "b", {})
    assert_same(tmp_path / "a", tmp_path / "b")


def test_interrupted_before_the_first_step(tmp_path, points):
    class Impatient(Points):
        def batch(self, indices):
            os.kill(os.getpid(), signal.SIGINT)
            self.batch = super().batch
            return super().batch(indices)

    with pytest.raises(Interrupted, match="before the first step"):
        fit(Small(), Impatient(20), None, recipe(steps=None, minutes=1.0), tmp_path, {})
    assert fit(Small(), points, None, recipe(steps=2), tmp_path, {}).step == 2


def test_handlers_are_given_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError), StopRequest() as stop:
        assert signal.getsignal(signal.SIGINT) != before
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested and stop.name == "SIGINT"
        raise KeyError
    assert signal.getsignal(signal.SIGINT) == before


def test_samples_are_numbered_on_over_the_steps(points):
    seen = []

    class Watch(Small):
        def loss(self, objective, batch, draws):
            seen.append(draws.index)
            return super().loss(objective, batch, draws)

    plan = recipe(batch_size=5, accumulate=2)
    stepper = Stepper(Watch(), points, plan, Place.find("cpu", plan.precision))
    for number in range(3):
        stepper.step(number, 3)
    assert torch.equal(torch.cat(seen), torch.arange(15))


def test_an_absent_cuda_device_is_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"'cuda:2' does not exist; there are 2"):
        Place.find("cuda:2", recipe().precision)


def test_a_device_given_by_name_is_used_and_the_environment_left_alone(monkeypatch):
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")
    assert Place.find("meta", recipe().precision).device == torch.device("meta")
    assert os.environ["ACCELERATE_TORCH_DEVICE"] == "cpu"
    assert Place.find(None, recipe().precision).device == torch.device("cpu")


def test_a_lock_that_the_file_system_does_not_know(tmp_path, points, monkeypatch):
    import fcntl

    def flock(handle, kind):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert fit(Small(), points, None, recipe(steps=2), tmp_path, {}).step == 2


def test_the_lock_goes_with_the_training(tmp_path, points):
    class Stops(Observer):
        def step(self, event):
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fit(Small(), points, None, recipe(), tmp_path, {}, observers=[Stops()])


def test_a_best_checkpoint_that_breaks_gives_way_to_the_next_best(tmp_path, points):
    fit(Small(), points, Points(20, 1), recipe(validate_every=5, steps=30, keep_last=9), tmp_path, {})
    best = find_checkpoint(tmp_path)
    path = best.path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    second = find_checkpoint(tmp_path)
    assert second.step != best.step
    assert second.state["value"] >= best.state["value"]


def test_two_broken_checkpoints_of_one_name_are_both_kept(tmp_path, points):
    fit(Small(), points, None, recipe(), tmp_path, {})
    for _ in range(2):
        newest = tmp_path / "checkpoints" / "step-00000024" / "manifest.json"
        newest.unlink()
        fit(Small(), points, None, recipe(), tmp_path, {})
    assert len(list((tmp_path / "quarantine").iterdir())) == 2
