"""Every kind of bad input, from the command line: one clear sentence and the right exit code, nothing trained."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import SMALL, picture, write_csv, write_folder


@pytest.fixture
def train(refused, tmp_path):
    """The refusal of `train DATA …`; nothing is left where the run would be."""

    def call(data: object, *more: object, code: int = 2) -> str:
        sentence = refused("train", data, "--out", tmp_path / "run", "--quiet", *SMALL, *more, code=code)
        assert not (tmp_path / "run" / "checkpoints").exists()
        return sentence

    return call


def test_empty_folder(train, tmp_path):
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in train(tmp_path / "empty")


def test_no_such_data(train):
    assert "did you mean 'digits'" in train("digts")


def test_mixed_sizes(train, tmp_path):
    folder = write_folder(tmp_path / "pets")
    Image.fromarray(picture(3, side=9)).save(folder / "cat" / "odd.png")
    sentence = train(folder)
    assert "odd.png" in sentence and "9" in sentence and "8" in sentence


def test_mixed_modes(train, tmp_path):
    folder = write_folder(tmp_path / "pets")
    Image.new("RGB", (8, 8)).save(folder / "cat" / "colour.png")
    sentence = train(folder)
    assert "colour.png" in sentence and "RGB" in sentence


def test_truncated_image(train, tmp_path):
    folder = write_folder(tmp_path / "pets")
    path = folder / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:50])  # within the compressed pixels
    assert "3.png" in train(folder)


@pytest.mark.filterwarnings("error")
def test_oversized_image(train, tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    for name in "ab":
        Image.new("1", (10_000, 10_000)).save(folder / f"{name}.png")
    assert "a.png" in train(folder)


def test_nan_in_a_table_names_row_and_column(train, tmp_path):
    path = write_csv(tmp_path / "t.csv")
    lines = path.read_text().splitlines()
    lines[5] = "21,nan,1,a"
    path.write_text("\n".join(lines))
    sentence = train(path, "--label-column", "kind")
    assert "height" in sentence and ("line 6" in sentence or "row 5" in sentence)


def test_nan_in_an_array(train, tmp_path):
    values = np.zeros((40, 5))
    values[7, 3] = np.nan
    np.save(tmp_path / "x.npy", values)
    sentence = train(tmp_path / "x.npy")
    assert "7" in sentence and "3" in sentence


def test_column_of_words(train, tmp_path):
    assert "kind" in train(write_csv(tmp_path / "t.csv"))


def test_missing_label_column(train, tmp_path):
    sentence = train(write_csv(tmp_path / "t.csv"), "--label-column", "knid")
    assert "knid" in sentence and "kind" in sentence


def test_unknown_kind_of_file(train, tmp_path):
    (tmp_path / "x.xyz").write_text("")
    assert ".npz" in train(tmp_path / "x.xyz")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.batchsize=3", "did you mean training.batch_size"),
        ("trainng.batch_size=3", "did you mean training"),
        ("model.network.widht=3", "did you mean model.network.width"),
        ("model.path=edn", "did you mean edm"),
        ("training.batch_size=many", 'training.batch_size is "many"'),
        ("training.batch_size=-3", "greater than 0"),
        ("training.batch_size", "name=value"),
        ("=3", "name=value"),
        ("training=3", "training"),
        ("model.prediction=nose", "noise"),
        ("training.minutes=3", "minutes"),
        ("training.learning_rate=inf", "learning_rate"),
    ],
)
def test_settings(train, setting, expected):
    assert expected in train("digits", "--set", setting)


def test_malformed_toml_names_the_line(train, tmp_path):
    (tmp_path / "c.toml").write_text("[training]\nsteps = 3\nseed = = 1\n")
    sentence = train(tmp_path / "c.toml")
    assert "c.toml" in sentence and "line 3" in sentence


def test_toml_of_a_wrong_type(train, tmp_path):
    (tmp_path / "c.toml").write_text("[training]\nbatch_size = [1]\n")
    assert "training.batch_size" in train(tmp_path / "c.toml")
    (tmp_path / "d.toml").write_text("training = 3\n")
    assert "training" in train(tmp_path / "d.toml")


def test_missing_toml(train, tmp_path):
    assert "c.toml" in train(tmp_path / "c.toml")


def test_no_steps(refused, tmp_path):
    assert "training.steps is 0" in refused("train", "digits", "--steps", "0", "--out", tmp_path / "run")
    assert "training.minutes" in refused("train", "digits", "--minutes", "-1", "--out", tmp_path / "run")


def test_two_lengths(refused, tmp_path):
    sentence = refused("train", "digits", "--steps", "3", "--minutes", "1", "--out", tmp_path / "run")
    assert "--steps" in sentence and "--minutes" in sentence


@pytest.mark.parametrize("option", ["--steps", "-n", "--seed"])
def test_numbers_that_are_not_whole_are_refused_and_not_rounded(refused, small_run, option):
    assert '"2.5"' in refused("sample", small_run, option, "2.5")


def test_unknown_device(refused, tmp_path):
    assert "abacus" in refused("train", "digits", "--device", "abacus", "--quiet", "--out", tmp_path / "run")


def test_place_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    assert str(out) in refused("train", "digits", "--out", out, "--quiet", *SMALL, code=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(refused, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert "closed" in refused("train", "digits", "--out", closed / "run", "--quiet", *SMALL, code=1)


@pytest.mark.parametrize("name", ["sample", "info"])
def test_missing_run(refused, tmp_path, name):
    sentence = refused(name, tmp_path / "nowhere")
    assert "nowhere is not a run" in sentence


def corrupt(run: Path, name: str) -> Path:
    """A copy of a run in which one byte of a file of every checkpoint is another."""
    for path in run.glob(f"checkpoints/*/{name}"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    return run


@pytest.fixture
def copied(small_run, tmp_path):
    import shutil

    return Path(shutil.copytree(small_run, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["config.json", "state.json", "manifest.json", "*.safetensors"])
@pytest.mark.parametrize("verb", ["sample", "info"])
def test_corrupt_run(refused, copied, name, verb):
    assert "intact" in refused(verb, corrupt(copied, name))


def test_corrupt_run_is_not_continued(command, copied, small_run):
    data = small_run.parent / "pets"
    said = command("train", data, "--out", corrupt(copied, "*.safetensors"), "--quiet", *SMALL)
    assert said.code == 1 and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_unknown_label(refused, small_run):
    sentence = refused("sample", small_run, "--label", "cow")
    assert "'cow'" in sentence and "cat, dog" in sentence


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--sampler", "huen"], "did you mean 'heun'"),
        (["--sampler", "zzzzzz"], "possible: default"),
        (["--steps", "0"], "at least 1"),
        (["-n", "0"], "at least 1"),
        (["--which", "worst"], "worst"),
        (["--device", "abacus"], "abacus"),
        (["--batch-size", "0"], "batch"),
        (["--guidance", "nan"], "guidance"),
        (["--guidance-interval", "0.2,5"], "give --guidance too"),
        (["--guidance", "2", "--guidance-interval", "5"], "such as 0.2,5"),
        (["--clip", "--threshold", "0.9"], "give one of the two"),
        (["--threshold", "2"], "in (0, 1]"),
        (["-o", "x.gif"], ".gif"),
        (["-o", "x.csv"], "images"),
    ],
)
def test_samples_that_cannot_be_drawn(refused, small_run, options, expected):
    assert expected in refused("sample", small_run, "--quiet", *options)


def test_a_name_that_does_not_fit_is_refused_before_anything_is_drawn(refused, small_run, monkeypatch):
    from pushforward.models.generator import Generator

    monkeypatch.setattr(Generator, "sample", None)
    assert "x.gif" in refused("sample", small_run, "-o", "x.gif", "--quiet")
    assert "x.csv asks for a table" in refused("interpolate", small_run, "-o", "x.csv", "--quiet")


def test_samples_that_cannot_be_written(refused, small_run, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = refused("sample", small_run, "-n", 2, "--steps", 2, "-o", tmp_path / "file" / "x.png", code=1)
    assert "x.png" in sentence or "file" in sentence


def test_another_model_in_the_same_folder(command, refused, small_run):
    data = small_run.parent / "pets"
    sentence = refused("train", data, "--out", small_run, "--quiet", "--preset", "ddpm", *SMALL)
    assert "cannot be continued" in sentence


def test_start_from_itself(refused, small_run):
    data = small_run.parent / "pets"
    assert "another folder" in refused("train", data, "--out", small_run, "--from", small_run, "--quiet", *SMALL)


def test_start_from_nothing(train):
    assert "is not a run" in train("digits", "--from", "nowhere")


def test_check_says_the_same_as_training(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused("check", tmp_path / "empty")
