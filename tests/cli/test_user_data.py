"""The user's own data, as a new user would try it: trained, sampled back in its own form, looked at, continued."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

import pushforward as pf
from pushforward.cli.train import default_out
from pushforward.training.observers import read_log

from .conftest import SMALL, picture, write_csv, write_folder, write_npz


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
    assert values["data"]["sizes"] == {"train": 20, "validation": 2, "test": 2}
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


def test_a_run_finds_its_data_from_any_directory_and_when_both_are_moved(command, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    write_csv(project / "people.csv")
    argv = ["train", "people.csv", "--label-column", "kind", "--out", "runs/a b", "--quiet", *SMALL]
    trained = command(*argv)
    assert trained.code == 0 and "pushforward report 'runs/a b'" in trained.out
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "people.csv", rows=41)  # another table of that name lies where the user happens to be
    for place in ("project", "moved"):
        if place == "moved":
            project.rename(tmp_path / "moved")
        said = command("evaluate", tmp_path / place / "runs" / "a b", "-n", 20, "--steps", 2, "--quiet")
        assert said.code == 0, said.err


def test_a_data_set_read_in_python_is_read_again_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pf.dataset(write_csv(tmp_path / "people.csv"), label_column="kind", test=0.3, seed=5)
    config = pf.configure("model.network.width=8", "training.batch_size=8")
    run = pf.fit(data, tmp_path / "run", config, steps=1, device="cpu")
    stored = run.config.data
    assert (stored.source, stored.label_column, stored.test, stored.split_seed) == (
        *(str(tmp_path / "people.csv"), "kind", 0.3, 5),
    )
    assert run.data().fingerprint == data.fingerprint


def test_augmentation_is_part_of_what_a_run_is(command, refused, tmp_path):
    data = write_folder(tmp_path / "pets")
    argv = ["train", data, "--out", tmp_path / "run", "--quiet", *SMALL]
    assert command(*argv, "--set", "data.flip=true", "--set", "data.shift=1").code == 0
    for changes, named in [
        (["data.flip=false", "data.shift=1"], "data.flip was True and now is False"),
        (["data.flip=true", "data.shift=2"], "data.shift was 1 and now is 2"),
        (["data.flip=true"], "data.shift was 1 and now is 0"),
    ]:
        assert named in refused(*argv, *(part for change in changes for part in ("--set", change)))
    assert command(*argv, "--set", "data.flip=true", "--set", "data.shift=1").code == 0


def test_augmentation_of_rows_is_refused_before_anything_is_written(refused, tmp_path):
    data = write_csv(tmp_path / "people.csv")
    argv = ["train", data, "--label-column", "kind", "--out", tmp_path / "run", "--quiet", *SMALL]
    for setting in ("data.flip=true", "data.shift=1"):
        assert "varies images" in refused(*argv, "--set", setting)
    assert not (tmp_path / "run").exists()


def test_changed_data_under_a_run_is_said_to_be_the_data(command, refused, tmp_path):
    data = write_csv(tmp_path / "people.csv")
    argv = ["train", data, "--label-column", "kind", "--out", tmp_path / "run", "--quiet", *SMALL]
    assert command(*argv).code == 0
    write_csv(data, rows=41)
    assert "data (a hash of its contents) was" in refused(*argv)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("data.labels=false", {"labels": None, "sizes": {"train": 20, "validation": 2, "test": 2}}),
        ("data.limit=10", {"sizes": {"train": 8, "validation": 1, "test": 1}}),
        ("data.mode=RGB", {"shape": [3, 8, 8]}),
    ],
)
def test_what_load_can_do_is_a_setting(command, tmp_path, setting, expected):
    values = command("check", write_folder(tmp_path / "pets"), "--json", "--set", setting).json
    assert {name: values[name] for name in expected} == expected


def test_what_a_refusal_says_to_set_can_be_set(command, refused, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 3, 8, 3)))
    assert "--set data.channels_last=true" in refused("check", tmp_path / "x.npy")
    values = command("check", tmp_path / "x.npy", "--json", "--set", "data.channels_last=true").json
    assert values["shape"] == [3, 3, 8]
    pets = write_folder(tmp_path / "pets")
    Image.fromarray(picture(3)).save(pets / "loose.png")
    assert "--set data.labels=false" in refused("check", pets)
    assert command("check", pets, "--json", "--set", "data.labels=false").json["labels"] is None
    assert "data.max_pixels" in refused("check", pets, "--set", "data.max_pixels=10", "--set", "data.labels=false")
    assert "data.memory_limit" in refused("check", tmp_path / "x.npy", "--set", "data.memory_limit=10")


def test_training_from_python_shows_how_it_goes_unless_it_is_asked_not_to(tmp_path, capsys):
    data = pf.dataset(write_npz(tmp_path / "x.npz"))
    config = pf.configure("model.network.width=8", "training.batch_size=8")
    pf.fit(data, tmp_path / "said", config, steps=2, device="cpu")
    said = capsys.readouterr()
    assert "step 2/2" in said.err and said.out == "" and list((tmp_path / "said" / "previews").iterdir())
    pf.fit(data, tmp_path / "silent", config, steps=2, device="cpu", observers=())
    assert capsys.readouterr() == ("", "") and not (tmp_path / "silent" / "previews").exists()
