"""Conditions beside the class from the command line: learned from a file, given when drawing, kept in edits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward import api
from pushforward.config.build import _augment
from pushforward.config.schema import DataConfig
from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.numerics.random import Draws

SMALL = ("training.batch_size=16", "model.network=unet", "model.network.width=8", "model.network.blocks=1")


def asked(*settings, steps=2):
    parts = [part for setting in settings for part in ("--set", setting)]
    return ("--steps", steps, "--device", "cpu", *parts)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images whose brightness is the first number of a vector, with tokens and an image of each."""
    folder, rng = tmp_path_factory.mktemp("told"), np.random.default_rng(0)
    level = rng.integers(0, 200, 60)
    x = (level[:, None, None] + rng.integers(0, 50, size=(60, 8, 8))).astype(np.uint8)
    np.savez(folder / "x.npz", x=x, y=np.arange(60) % 3)
    vector = np.stack([level, np.arange(60)], 1) / 100
    known = {"vector": vector, "tokens": rng.normal(size=(60, 3, 4)), "image": rng.normal(size=(60, 8, 8))}
    np.savez(folder / "told.npz", **known)
    return folder


@pytest.fixture(scope="module")
def run(files):
    from pushforward.cli.main import main

    out = files / "run"
    words = ["train", files / "x.npz", *asked(*SMALL, f"data.conditions={files / 'told.npz'}"), "--out", out, "--quiet"]
    assert main([str(word) for word in words]) == 0
    return out


def test_each_item_keeps_its_own_conditions_through_limits_and_splits(files):
    data = pf.dataset(files / "x.npz", conditions=files / "told.npz", limit=40)
    for split in (data.train, data.validation, data.test):
        batch = split.batch(torch.tensor([2, 0]))
        vector, image = batch.conditions["vector"], batch.conditions["image"]
        brightness = split.values[[2, 0]].reshape(2, -1).min(1) / 100
        np.testing.assert_allclose(vector[:, 0], brightness, atol=0.2)
        assert image.shape == (2, 1, 8, 8) and batch.conditions["tokens"].shape == (2, 3, 4)
    assert any("told vector: 2 numbers" in line for line in data.messages)
    other = pf.dataset(files / "x.npz", conditions={"vector": np.zeros((60, 2))}, limit=40)
    assert data.fingerprint != other.fingerprint != pf.dataset(files / "x.npz", limit=40).fingerprint
    assert other.origin is None


def test_the_model_is_told_what_the_file_holds(run, files, command, refused, tmp_path):
    found = api.load(run, device="cpu")
    assert found.config.model.told == {"vector": 2, "tokens": 4, "image": 1}
    assert set(found.sampled("x").model.conditions) == {"vector", "tokens", "image"}
    assert "vector of 2" in command("info", run).out
    assert len(found.data().train) == 48  # the file of conditions is found again
    network = found.generator.model.network
    with torch.no_grad():  # after two steps of training the output is next to nothing: let it be seen
        network.output.weight.normal_(0, 1)
    told = api.telling(found, files / "told.npz", held=("image",))
    assert told.generator.held == ("image",)
    one, other = (
        generator.sample(3, steps=2, label=0, seed=1).values for generator in (found.generator, told.generator)
    )
    assert not np.array_equal(one, other)
    swapped = {"vector": np.ones((1, 2))}
    assert not np.array_equal(api.telling(found, swapped).generator.sample(3, steps=2, label=0, seed=1).values, one)

    out = tmp_path / "s.npz"
    ask = ("sample", run, "-n", 3, "--steps", 2, "-o", out)
    drawn = command(*ask, "--conditions", files / "told.npz", "--guidance", 2, "--hold", "image", "--json")
    assert drawn.code == 0, drawn.err
    np.savez(tmp_path / "wide.npz", vector=np.zeros((2, 5)))
    assert "vector of 5 was given" in refused(*ask, "--conditions", tmp_path / "wide.npz")
    np.savez(tmp_path / "none.npz", other=np.zeros((2, 5)))
    assert "arrays named vector, tokens, image were expected" in refused(*ask, "--conditions", tmp_path / "none.npz")
    assert "no conditions at" in refused(*ask, "--conditions", tmp_path / "missing.npz")
    assert "given with --conditions" in refused(*ask, "--hold", "image")
    edited = command("edit", run, "-n", 2, "--steps", 2, "--conditions", files / "told.npz", "-o", out)
    assert edited.code == 0, edited.err


def test_a_changed_file_of_conditions_is_other_data(run, files, command, refused, tmp_path):
    shutil.copy(files / "told.npz", tmp_path / "keep.npz")
    try:
        known = dict(np.load(files / "told.npz"))
        np.savez(files / "told.npz", **{**known, "vector": known["vector"][::-1]})
        with pytest.raises(UserError, match="has changed since"):
            api.load(run, device="cpu").data()
    finally:
        shutil.copy(tmp_path / "keep.npz", files / "told.npz")


def test_latent_models_are_told_too_and_keep_their_latents(files, command, tmp_path):
    known = dict(np.load(files / "told.npz"))
    np.savez(tmp_path / "told.npz", vector=known["vector"])
    settings = ("training.batch_size=16", "model.first_stage=pca", "model.first_stage.components=3")
    words = ("--family", "latent", *asked(*settings, "model.inner.network.width=8"))
    out = tmp_path / "run"
    trained = command(
        "train", files / "x.npz", *words, "--set", f"data.conditions={tmp_path / 'told.npz'}", "--out", out
    )
    assert trained.code == 0, trained.err
    found = api.load(out, device="cpu")
    assert found.sampled("x").model.conditions == ("vector",)
    kept, _ = found.generator.model.prepare(found.data().train, found.data().validation)
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(kept.batch(rows).conditions, dict(found.data().train.batch(rows).conditions))
    drawn = command(
        "sample", out, "-n", 2, "--conditions", tmp_path / "told.npz", "--steps", 2, "-o", tmp_path / "s.npz"
    )
    assert drawn.code == 0, drawn.err


def test_a_moved_item_and_the_image_it_is_told_move_together():
    change = _augment(DataConfig(flip=True, shift=1))
    x = torch.arange(64.0).reshape(4, 1, 4, 4)
    found = change(Batch(x, None, {"image": 2 * x, "vector": torch.ones(4, 2)}), Draws.of(0, range(4)))
    assert not torch.equal(found.values, x)
    torch.testing.assert_close(found.conditions["image"], 2 * found.values)
    assert "vector" in found.conditions
    with pytest.raises(UserError, match="of another size"):
        change(Batch(x, None, {"image": x[:, :, :2, :2]}), Draws.of(0, range(4)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("data.conditions=SHORT",), "59 entries for the 60 items"),
        (("data.conditions=TOLD", "data.validation=OTHER"), "of the items of one source"),
        (("data.conditions=TOLD", "model.network=magnitude-unet"), "magnitude-unet is told no vector"),
        (("data.conditions=TOLD", 'model.told={"vector"=3}'), "names vector of 3, and the data has: vector of 2"),
        (("data.conditions=x.csv",), "no conditions at"),
    ],
)
def test_conditions_that_cannot_be_learned_are_told(files, refused, tmp_path, settings, words):
    known = dict(np.load(files / "told.npz"))
    np.savez(tmp_path / "short.npz", vector=known["vector"][:-1])
    places = {"SHORT": tmp_path / "short.npz", "TOLD": files / "told.npz", "OTHER": files / "x.npz"}
    for name, path in places.items():
        settings = tuple(setting.replace(name, str(path)) for setting in settings)
    assert words in refused("train", files / "x.npz", *asked(*settings), "--out", tmp_path / "run", "--quiet")
    assert not (tmp_path / "run").exists()


def test_other_families_are_told_nothing(files, refused, tmp_path):
    words = ("train", files / "x.npz", "--family", "vae", *asked(f"data.conditions={files / 'told.npz'}"))
    assert "told to diffusion models, and this is a vae model" in refused(*words, "--out", tmp_path / "run", "--quiet")
