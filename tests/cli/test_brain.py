"""`brain` from the command line: what it writes, and how it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A conditional run on the digits of a few steps."""
    from pushforward.cli.main import main

    out = tmp_path_factory.mktemp("brain") / "run"
    small = ("--set", "model.network.width=8", "--set", "training.batch_size=16")
    assert main(["train", "digits", "--out", str(out), "--quiet", "--steps", "3", "--device", "cpu", *small]) == 0
    return out


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """Forty trials of digits; 60 voxels, the last 20 of which see nothing of them."""
    rng = np.random.default_rng(0)
    digits = load_digits()
    images, labels = digits["images"][:40].astype(np.uint8), digits["target"][:40]
    voxels = (images.reshape(40, 64) - 5.0) @ rng.normal(size=(64, 60)) / 30 + rng.normal(size=(40, 60))
    voxels[:, 40:] = rng.normal(size=(40, 20))
    path = tmp_path_factory.mktemp("trials") / "trials.npz"
    regions = np.array(["early"] * 20 + ["late"] * 20 + ["ear"] * 20)
    np.savez(path, voxels=voxels, stimuli=images, labels=labels, test=np.arange(40) >= 32, regions=regions)
    return path


def test_pictures_are_decoded_scored_and_written(command, run, trials, tmp_path):
    asked = ("brain", trials, "--run", run, "--samples", 2, "--evaluations", 3, "--components", 8, "--guidance", 2)
    asked += ("--latent-voxels", "early,late", "--permutations", 3, "--out", tmp_path)
    told = command(*asked, "--json")
    assert told.code == 0, told.err
    values = json.loads((tmp_path / "brain.json").read_text())
    assert values["scores"] == told.json["scores"]
    assert values["trials"] == {"train": 32, "test": 8, "shared": 0}
    assert values["voxels"] == {"latent": 40, "condition": 60}
    assert float(min(values["strengths"], key=values["strengths"].get)) == values["strength"]
    ridge, mean = (values["scores"][name] for name in ("ridge alone", "mean of the training stimuli"))
    assert ridge["pcc"] > mean["pcc"]
    assert values["window"] == "7×7 uniform"
    arrays = np.load(tmp_path / "decoded.npz")
    assert arrays["samples"].shape == (2, 8, 1, 8, 8)
    np.testing.assert_allclose(arrays["mean"], arrays["samples"].mean(0), rtol=1e-5)
    assert arrays["classes"].shape == (8,)
    page = (tmp_path / "brain.html").read_text()
    assert "Permuted trials" in page and "<svg" in page and "data:image/png" in page
    assert (tmp_path / "decoded.png").exists()


def test_exact_draws_need_no_strength(command, refused, run, trials, tmp_path):
    asked = ("brain", trials, "--run", run, "--samples", 2, "--components", 4, "--permutations", 0, "--out", tmp_path)
    told = command(*asked, "--exact", "--evaluations", 40)
    assert told.code == 0, told.err
    assert "the posterior given what ridge says" in told.out
    assert "exact draws have no strength" in refused(*asked, "--exact", "--strength", 0.5)
    assert "no region 'V1'" in refused(*asked, "--latent-voxels", "V1")
    assert "--name is written as" in refused(*asked, "--name", "stimuli")
    assert "--side is height x width" in refused(*asked, "--side", "28")
    assert "at least two samples" in refused(*asked[:5], 1)
    assert "no recording at" in refused("brain", tmp_path / "none.npz", "--run", run)


def test_stimuli_of_another_shape_are_refused(refused, run, tmp_path):
    np.savez(tmp_path / "t.npz", voxels=np.eye(12), stimuli=np.random.default_rng(0).uniform(0, 16, (12, 9, 9)))
    assert "trained on (8, 8)" in refused("brain", tmp_path / "t.npz", "--run", run, "--quiet")
