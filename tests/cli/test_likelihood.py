"""`likelihood`, `encode` and `interpolate` from the command line, on small runs and with wrong input."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from PIL import Image

from pushforward import api
from pushforward.cli.main import main

from .conftest import picture, write_csv, write_folder

FEW = ("--evaluations", "6", "--device", "cpu", "--quiet")


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    """A finished run on a table with whole, real and constant columns and a class."""
    root = tmp_path_factory.mktemp("table")
    write_csv(root / "people.csv", 80)
    train = ("train", str(root / "people.csv"), "--label-column", "kind", "--out", str(root / "run"), "--quiet")
    assert main([*train, "--set", "training.batch_size=8", "--steps", "3", "--device", "cpu"]) == 0
    return root / "run"


def test_images_in_bits_per_dimension(command, small_run, tmp_path):
    said = command("likelihood", small_run, "--out", tmp_path / "s.csv", *FEW)
    assert said.code == 0, said
    assert "bits per dimension" in said.out and "± " in said.out and "a Gaussian of the training data" in said.out
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["item", "nats", "standard_error", "bits_per_dim"]
    for row in rows:
        assert float(row["bits_per_dim"]) == pytest.approx(-float(row["nats"]) / (64 * math.log(2)))
        assert float(row["standard_error"]) > 0


def test_json_and_npz(command, small_run, tmp_path):
    said = command("likelihood", small_run, "-n", 2, "--json", "-o", tmp_path / "s.npz", *FEW)
    assert said.json["number"] == 2
    assert said.json["bits_per_dim"] == pytest.approx(-said.json["nats"]["mean"] / (64 * math.log(2)))
    assert said.json["baselines"]["uniform"] == pytest.approx(-64 * math.log(256))
    found = np.load(tmp_path / "s.npz")
    assert found["nats"].mean() == pytest.approx(said.json["nats"]["mean"])
    again = command("likelihood", small_run, "-n", 1, "--json", *FEW)  # the same item alone
    assert again.json["nats"]["mean"] == pytest.approx(found["nats"][0], abs=1e-3)


def test_a_table_in_nats_per_row(command, table_run, tmp_path):
    said = command("likelihood", table_run, "--json", *FEW)
    assert said.json["bits_per_dim"] is None and said.json["dimensions"] == 2
    assert said.json["method"].startswith("exact divergence")
    other = tmp_path / "others.csv"
    other.write_text("height,unit,age\n1.6,1,23\n1.7,1,22\n")  # another order, without the classes
    found = command("likelihood", table_run, "--data", other, "--json", *FEW)
    assert found.code == 0 and found.json["number"] == 2
    assert "bits" not in command("likelihood", table_run, "--data", other, *FEW).out


def test_conditions(command, small_run):
    runs = [
        command("likelihood", small_run, "-n", 2, "--json", *options, *FEW).json["nats"]["mean"]
        for options in ((), ("--label", "cat"), ("--own-labels",))
    ]
    assert all(map(math.isfinite, runs))


def test_from_python(small_run):
    run = api.load(small_run, device="cpu")
    scores = api.likelihood(run, "validation", number=2, evaluations=6, probes=1)
    assert len(scores) == 2 and scores.bits(scores.mean) == pytest.approx(scores.bits_per_dim.mean())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-n", "0"), "the number of samples must be at least 1; got 0"),
        (("--evaluations", "2"), "at least 4 evaluations of the network; got 2"),
        (("--hutchinson", "0"), "probes must be at least 1; got 0"),
        (("--repeats", "0"), "must be at least 1; got 0"),
        (("--label", "bird"), "no label 'bird'; it was trained with cat, dog"),
        (("--label", "cat", "--own-labels"), "not both"),
        (("--data", "tset"), "there is no data at 'tset'"),
        (("--out", "scores.txt"), "written as .csv or .npz; got scores.txt"),
    ],
)
def test_wrong_options(refused, small_run, options, says):
    assert says in refused("likelihood", small_run, "--quiet", "--device", "cpu", *options)


def test_images_of_another_shape(refused, small_run, tmp_path):
    (tmp_path / "large").mkdir()
    for i in range(2):
        Image.fromarray(picture(i, side=9)).save(tmp_path / "large" / f"{i}.png")
    assert "9×9, and the model was trained on 8×8" in refused("likelihood", small_run, "--data", tmp_path / "large")


def test_images_of_another_range_or_kind(refused, small_run, tmp_path):
    np.save(tmp_path / "wide.npy", np.full((3, 8, 8), 300, np.int32))
    assert "values 300 … 300" in refused("likelihood", small_run, "--data", tmp_path / "wide.npy")
    np.save(tmp_path / "real.npy", np.random.default_rng(0).random((3, 8, 8)))
    assert "float64 pixels" in refused("likelihood", small_run, "--data", tmp_path / "real.npy")


def test_tables_with_other_columns(refused, table_run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("age,weight,unit\n20,1.5,1\n21,1.5,1\n")
    assert "no column 'height'" in refused("likelihood", table_run, "--data", path)
    path.write_text("age,height,unit\n20,1.5,1\n21,1.5,2\n")
    assert "row 1" in refused("likelihood", table_run, "--data", path)
    np.save(tmp_path / "x.npy", np.ones((3, 5)))
    assert "5, and the model was trained on 3 columns" in refused("likelihood", table_run, "--data", tmp_path / "x.npy")


def test_classes_that_are_not_there(refused, table_run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("age,height,unit\n20,1.5,1\n21,1.5,1\n")
    assert "has no labels" in refused("likelihood", table_run, "--data", path, "--own-labels", *FEW)
    path.write_text("age,height,unit,kind\n20,1.5,1,a\n21,1.5,1,z\n")
    assert "'z'" in refused("likelihood", table_run, "--data", path, *FEW)


def test_latents_do_not_depend_on_the_batch_and_progress_is_told(small_run):
    run, told = api.load(small_run), []
    whole, _ = api.encode(run, "train", number=5, evaluations=6)
    parts, rows = api.encode(
        run, "train", number=5, evaluations=6, batch_size=2, progress=lambda *state: told.append(state)
    )
    assert len(rows) == 5 and told == [(2, 5), (4, 5), (5, 5)]
    assert np.allclose(whole, parts, atol=1e-4)


def test_encode(command, refused, small_run, tmp_path):
    said = command("encode", small_run, "--data", "train", "-n", 3, "-o", tmp_path / "z.npz", "--json", *FEW)
    assert said.json["shape"] == [3, 1, 8, 8]
    found = np.load(tmp_path / "z.npz")
    assert found["z"].shape == (3, 1, 8, 8) and set(found["y"]) <= {"cat", "dog"}
    assert "written as .npz" in refused("encode", small_run, "-o", tmp_path / "z.png")
    assert "no label 'x'" in refused("encode", small_run, "-o", tmp_path / "z.npz", "--label", "x", *FEW)


def test_interpolate(command, refused, small_run, table_run, tmp_path):
    said = command("interpolate", small_run, "--data", "train", "--steps", 4, "-o", tmp_path / "s.png", "--json", *FEW)
    assert said.json["items"] == [0, 1]
    assert Image.open(tmp_path / "s.png").size == (4 * 9 - 1, 8)
    written = command("interpolate", table_run, "--data", "train", "-o", tmp_path / "s.csv", *FEW)
    assert written.code == 0 and len((tmp_path / "s.csv").read_text().splitlines()) == 9
    for options, says in (
        (("--items", "0"), "two different items"),
        (("--items", "0,0"), "two different items"),
        (("--items", "a,b"), "got 'a,b'"),
        (("--items", "0,99"), "no item 99: test has items 0 … "),
        (("--steps", "1"), "at least 2 steps; got 1"),
    ):
        assert says in refused("interpolate", small_run, *options, *FEW)


def test_a_folder_of_the_same_form(command, small_run, tmp_path):
    folder = write_folder(tmp_path / "more", 2)
    assert command("likelihood", small_run, "--data", folder, "--json", *FEW).json["number"] == 4


def test_the_bound_term_by_term(command, small_run, tmp_path):
    few = ("-n", 3, "--steps", 5, "--variance", "fixed-large", "--device", "cpu", "--quiet")
    said = command("bound", small_run, "--out", tmp_path / "b.csv", *few)
    assert said.code == 0 and "L_T" in said.out and "variance fixed-large, 5 evaluations" in said.out, said
    with (tmp_path / "b.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        assert row["bound"] == pytest.approx(row["prior"] + row["transitions"] + row["decoder"])
        assert row["bits_per_dim"] == pytest.approx(row["bound"] / (64 * math.log(2)))
    told = command("bound", small_run, "--json", *few).json
    assert told["nats"]["bound"] == pytest.approx(sum(row["bound"] for row in rows) / len(rows))
    alone = command("bound", small_run, "--json", "-n", 1, *few[2:]).json  # an item's terms are its own
    assert alone["nats"]["bound"] == pytest.approx(rows[0]["bound"], rel=1e-5)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--variance", "free"), "there is no variance free; possible: analytic, fixed-small, fixed-large"),
        (("--steps", "1"), "at least two steps; got 1"),
        (("--out", "b.npz"), "written as .csv"),
    ],
)
def test_a_bound_that_cannot_be_is_told(refused, small_run, more, said):
    assert said in refused("bound", small_run, *more)


def test_the_bound_is_of_whole_numbers(refused, table_run):
    assert "images of integers" in refused("bound", table_run)
