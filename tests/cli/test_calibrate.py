"""`calibrate` and the method that is recommended, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pushforward.config import calibrating, recommending
from pushforward.config.methods import METHODS, NamedMethod
from pushforward.posterior import SplitGibbs

OPERATOR = 'operator = { kind = "mask", hidden = [4, 0, 4, 8] }\nnoise = { sigma = 2.0 }\n'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the digits of a few steps."""
    from pushforward.cli.main import main

    out = tmp_path_factory.mktemp("calibrate") / "run"
    small = ("--set", "model.network.width=8", "--set", "training.batch_size=16")
    assert main(["train", "digits", "--out", str(out), "--quiet", "--steps", "3", "--device", "cpu", *small]) == 0
    return out


@pytest.fixture
def operator(tmp_path):
    path = tmp_path / "operator.toml"
    path.write_text(OPERATOR)
    return path


def test_a_calibration_is_measured_and_written(command, refused, run, operator, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "TRUTHS", 8)
    asked = ("calibrate", run, "--operator", operator, "-n", 40, "--samples", 19, "--evaluations", 6)
    told = command(*asked, "--method", "ddrm", "--out", tmp_path / "out", "--json")
    assert told.code == 0, told.err
    values = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert values["held"] == told.json["held"] and values["items"] == 40
    assert set(values["drawn"]) == {"calibrated", "ranks", "coverage", "residuals", "stein"}
    # A network of three steps knows nothing of digits: its intervals miss, and the scale repairs that.
    assert not values["true"]["calibrated"]
    assert 0.8 < values["held"] <= 1
    page = (tmp_path / "out" / "calibration.html").read_text()
    assert "<svg" in page and "Where the truth stands among the draws" in page and "deviations" in page
    assert "at least 40 items" in refused(*asked[:5], 10)
    assert "19 samples each" in refused("calibrate", run, "--operator", operator, "--samples", 9)


def test_true_items_are_of_the_class_that_is_asked_for(run, refused, operator):
    from pushforward import api
    from pushforward.config.rows import rows_of

    found = api.load(run)
    every = rows_of(found, "train")
    three = calibrating._truth(found, "train", 50, found.generator.label_indices("3", 50))
    assert torch.equal(three, every.x[every.labels == 3][:50])
    assert "items of that class" in refused("calibrate", run, "--operator", operator, "--label", "3", "-n", 40)


def test_an_unknown_noise_level_is_calibrated_with_the_items(command, run, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "TRUTHS", 8)
    monkeypatch.setattr(calibrating, "LEAST", 20)
    short = NamedMethod("few and short sweeps", lambda likelihood: SplitGibbs(inner=2, start=2, cooling=0), 10)
    monkeypatch.setitem(METHODS, "exact", short)
    path = tmp_path / "guessed.toml"
    path.write_text(OPERATOR.replace("2.0 }", "2.0, within = 1.5 }"))
    asked = ("calibrate", run, "--operator", path, "-n", 20, "--samples", 19)
    told = command(*asked, "--method", "exact", "--out", tmp_path / "out", "--json")
    assert told.code == 0, told.err
    for part in ("drawn", "true"):
        assert 0 <= told.json[part]["ranks"]["noise level"] <= 1


def test_without_a_method_one_is_recommended_and_remembered(command, run, operator, tmp_path, monkeypatch):
    for name, less in {"_ITEMS": 20, "_SAMPLES": 9, "_MOST": 20, "TRUTHS": 8}.items():
        monkeypatch.setattr(recommending, name, less)
    np.save(tmp_path / "y.npy", np.full((1, 1, 8, 8), 3.0))
    asked = ("restore", run, "--operator", operator, "--measurement", tmp_path / "y.npy", "--samples", 2)
    first = command(*asked, "--out", tmp_path / "first")
    assert first.code == 0, first.err
    stored = json.loads((run / "recommended.json").read_text())
    [advice] = stored.values()
    assert advice["name"] in first.out and advice["reason"] in first.err
    assert len(advice["tried"]) >= 1
    monkeypatch.setattr(recommending, "recommend", None)
    again = command(*asked, "--out", tmp_path / "again")
    assert again.code == 0, again.err
