"""The user's own data, as a new user would try it: trained, sampled back in its own form, looked at, continued."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from pushforward.cli.train import default_out
from pushforward.training.observers import read_log

from .conftest import SMALL, write_csv, write_folder, write_npz


@pytest.fixture
def trained(command, tmp_path):
    """`trained(data, …)`: the folder of a run of three steps."""

    def call(data, *more, out="run"):
        said = command("train", data, "--out", tmp_path / out, "--quiet", "--json", *SMALL, *more)
        assert said.code == 0, said.err
        assert said.json["step"] == said.json["total"] == 3 and said.err == ""
        return tmp_path / out

    return call


def draw(command, run, out, *more):
    said = command("sample", run, "-n", 4, "--steps", 3, "--json", "--quiet", "-o", out, *more)
    assert said.code == 0, said.err
    assert said.json["number"] == 4
    return out


def test_a_folder_of_images(command, trained, tmp_path):
    run = trained(write_folder(tmp_path / "pets"))
    grid = Image.open(draw(command, run, tmp_path / "grid.png"))
    assert (grid.mode, grid.size) == ("L", (17, 17))
    folder = draw(command, run, tmp_path / "drawn")
    images = sorted(folder.rglob("*.png"))
    assert [path.parent.name for path in images] == ["cat", "cat", "dog", "dog"]
    assert {Image.open(path).size for path in images} == {(8, 8)}
    only = draw(command, run, tmp_path / "dogs", "--label", "dog", "--guidance", "2", "--sampler", "heun")
    assert {path.parent.name for path in only.rglob("*.png")} == {"dog"}
    assert command("sample", run, "-n", 2, "--steps", 2).code == 0 and (run / "samples.png").exists()
    previews = sorted((run / "previews").iterdir())
    assert previews[-1].name == "step-00000003.png" and Image.open(previews[-1]).mode == "L"


def test_a_table(command, trained, tmp_path):
    run = trained(write_csv(tmp_path / "people.csv"), "--label-column", "kind")
    with draw(command, run, tmp_path / "new.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["age", "height", "unit", "kind"] and len(rows) == 4
    for age, height, unit, kind in rows:
        assert 20 <= int(age) <= 26 and unit == "1" and kind in "ab" and 1 < float(height) < 2.5
    assert command("sample", run, "-n", 2, "--steps", 2).code == 0 and (run / "samples.csv").exists()
    assert (run / "previews" / "step-00000003.csv").exists()


def test_arrays(command, trained, tmp_path):
    run = trained(write_npz(tmp_path / "colours.npz"))
    with np.load(draw(command, run, tmp_path / "x.npz")) as found:
        assert found["x"].shape == (4, 8, 8, 3) and found["x"].dtype == np.uint8
        assert found["y"].tolist() == [0, 1, 2, 0]


def test_vectors_without_labels(command, trained, tmp_path):
    np.save(tmp_path / "v.npy", np.linspace(0, 1, 120, dtype=np.float32).reshape(40, 3) ** 2)
    run = trained(tmp_path / "v.npy")
    assert np.load(draw(command, run, tmp_path / "x.npy")).shape == (4, 3)
    assert command("sample", run, "-n", 2, "--steps", 2).code == 0 and (run / "samples.npy").exists()


def test_info_tells_what_is_there(command, small_run):
    values = command("info", small_run, "--json").json
    assert values["step"] == values["total"] == 3 and values["labels"] == ["cat", "dog"]
    assert values["best"]["validation"] is not None and values["config"]["training"]["batch_size"] == 8
    assert (
        values["data"]["sizes"] == {"train": 18, "validation": 2, "test": 4}
        or sum(values["data"]["sizes"].values()) == 24
    )
    said = command("info", small_run).out
    assert "3 of 3 steps" in said and "cat, dog" in said and "model.network.width = 8" in said


def test_the_stored_configuration_makes_the_same_run_again(command, small_run, tmp_path):
    (tmp_path / "again.toml").write_text(command("info", small_run, "--toml").out)
    again = command("train", tmp_path / "again.toml", "--out", tmp_path / "again", "--json", "--quiet")
    assert again.code == 0, again.err
    first, second = (
        next(run.glob("checkpoints/step-00000003/model.safetensors")).read_bytes()
        for run in (small_run, tmp_path / "again")
    )
    assert first == second


def test_the_same_command_after_the_end_changes_nothing_and_restart_begins_anew(command, trained, tmp_path):
    data = write_folder(tmp_path / "pets")
    run = trained(data)
    log = (run / "metrics.jsonl").read_bytes()
    assert trained(data) == run and (run / "metrics.jsonl").read_bytes() == log
    said = command("train", data, "--out", run, "--quiet", "--json", "--restart", *SMALL)
    assert said.json["step"] == 3 and (tmp_path / "run.previous-1").is_dir()
    assert read_log(run / "metrics.jsonl")[-1]["step"] == 3


def test_fine_tuning_takes_the_model_and_its_weights(command, trained, tmp_path):
    data = write_folder(tmp_path / "pets")
    first = trained(data, "--preset", "ddpm")
    second = trained(data, "--from", first, "--set", "training.learning_rate=1e-12", out="second")
    config = command("info", second, "--json").json["config"]
    assert config["model"]["path"]["kind"] == "ddpm" and config["model"]["network"]["width"] == 8
    begin, end = (
        draw(command, run, tmp_path / f"{run.name}.npz", "--sampler", "ddim").read_bytes() for run in (first, second)
    )
    assert len(begin) == len(end)
    with np.load(tmp_path / "run.npz") as a, np.load(tmp_path / "second.npz") as b:
        assert np.abs(a["x"].astype(int) - b["x"]).max() <= 2


def test_what_was_noticed_and_how_it_goes_is_said_without_a_terminal(command, tmp_path):
    said = command("train", write_folder(tmp_path / "pets"), "--out", tmp_path / "run", *SMALL)
    assert said.code == 0 and "24 images" in said.err and "parameters" in said.err
    assert "step 3/3" in said.err and "loss" in said.err and "\x1b" not in said.err
    assert said.out.startswith("done: 3 steps") and f"pushforward sample {tmp_path / 'run'}" in said.out


def test_tensorboard_is_an_option(command, refused, tmp_path):
    argv = ["train", write_folder(tmp_path / "pets"), "--out", tmp_path / "run", "--quiet", "--tensorboard", *SMALL]
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        assert "pip install" in refused(*argv)
    else:
        assert command(*argv).code == 0 and list((tmp_path / "run" / "tensorboard").iterdir())


def test_check_counts(command, tmp_path):
    values = command("check", write_folder(tmp_path / "pets"), "--json").json
    assert values["kind"] == "image" and values["labels"] == ["cat", "dog"] and sum(values["sizes"].values()) == 24
    assert values["counts"].keys() == {"cat", "dog"} and min(values["counts"].values()) >= 8
    table = command("check", write_csv(tmp_path / "t.csv"), "--label-column", "kind", "--set", "data.test=0.5")
    assert "column unit is constant" in table.out and "classes" in table.out
    assert json.loads(command("check", tmp_path / "t.csv", "--label-column", "kind", "--json").out)["kind"] == "table"


@pytest.mark.parametrize(
    ("data", "preset", "expected"),
    [
        ("digits", None, "digits-edm"),
        ("digits", "ddpm", "digits-ddpm"),
        ("a/people.csv", None, "people-edm"),
        ("mine.toml", "ddpm", "mine"),
        ("a.b/photos.v2.npz", None, "photos.v2-edm"),
    ],
)
def test_where_a_run_goes_by_default(data, preset, expected):
    assert str(default_out(data, preset)) == f"runs/{expected}"


def test_the_folder_of_images_gives_the_name(tmp_path, monkeypatch):
    (tmp_path / "photos.v2").mkdir()
    monkeypatch.chdir(tmp_path / "photos.v2")
    assert default_out(".", None).name == default_out(f"{tmp_path}/photos.v2/", None).name == "photos.v2-edm"
