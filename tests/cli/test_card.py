"""Predicting a column of a table: train, predict, evaluate, report; and what is refused, in one sentence each."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import pushforward as pf

QUICK = ("--family", "card", "--steps", 5, "--device", "cpu", "--set", "model.width=16", "--set", "model.folds=2")


def write(path, rows, names=("size", "kind", "price")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    size, kind = rng.uniform(20, 120, 90).round(1), rng.integers(0, 3, 90)
    price = 2 * size + 40 * kind + rng.normal(0, 5 + size / 20)
    return [[s, "abc"[k], round(p, 2)] for s, k, p in zip(size, kind, price, strict=True)]


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    from pushforward.cli.main import main

    folder = tmp_path_factory.mktemp("card")
    table = write(folder / "table.csv", rows)
    words = [str(word) for word in ("train", table, "--target", "price", *QUICK, "--out", folder / "run", "--quiet")]
    assert main(words) == 0
    return folder / "run"


def test_a_run_predicts_rows_with_quantiles_and_draws(run, rows, command, tmp_path):
    table = write(tmp_path / "new.csv", [row[:2] for row in rows[:12]], ("size", "kind"))
    out = tmp_path / "out.csv"
    said = command(
        "predict", run, table, "-o", out, "-n", 20, "--quantile", 0.9, "--quantile", 0.1, "--draws", "--json"
    )
    assert said.code == 0, said.err
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 12 == said.json["rows"]
    assert list(found[0])[:5] == ["price", "price_sd", "price_q10", "price_q90", "price_draw1"]
    truth = np.array([row[2] for row in rows[:12]])
    assert np.corrcoef([float(f["price"]) for f in found], truth)[0, 1] > 0.8
    for name in ("out.parquet", "out.npz", "out.tsv"):
        assert command("predict", run, table, "-o", tmp_path / name, "-n", 4).code == 0
    shown = command("predict", run, table, "-n", 4)
    assert "price_sd" in shown.out and "12 rows" in shown.out


def test_what_is_not_used_may_be_missing(run, rows, command, tmp_path):
    table = write(tmp_path / "new.csv", [[*row[:2], "", "?"] for row in rows[:3]], ("size", "kind", "price", "note"))
    said = command("predict", run, table, "-n", 4, "--json")
    assert said.code == 0, said.err
    assert list(said.json["predictions"]) == ["price", "price_sd", "price_q25", "price_q50", "price_q75"]


def test_a_coverage_that_so_few_draws_do_not_reach_is_not_scored(run, refused):
    assert "0.025 needs at least 20 draws of each row; there are 10" in refused("evaluate", run, "-n", 10)


def test_every_kind_of_sampler_draws_the_response(run, rows, command, tmp_path):
    table = write(tmp_path / "new.csv", [row[:2] for row in rows[:3]], ("size", "kind"))
    for sampler in ("default", "ddpm", "analytic-ddpm", "heun"):
        said = command("predict", run, table, "-n", 4, "--sampler", sampler, "--steps", 6, "--json")
        assert said.code == 0, said.err
        assert np.isfinite(said.json["predictions"]["price"]).all()


def test_the_same_command_continues_and_fits_nothing_again(run, rows, command, tmp_path, monkeypatch):
    from pushforward.card.means import Stacked

    table = write(run.parent / "table.csv", rows)
    monkeypatch.setattr(Stacked, "fit", lambda *_: pytest.fail("it was fitted again"))
    said = command("train", table, "--target", "price", *QUICK, "--out", run, "--json")
    assert said.code == 0 and said.json["step"] == 5
    # nothing that earlier versions did not know tells a run of theirs apart
    assert not {"feature_dropout", "log_probabilities"} & identity(run).keys()


def identity(run):
    state = max((run / "checkpoints").glob("step-*")) / "state.json"
    return json.loads(state.read_text())["identity"]["model"]


def test_figures_and_report(run, command):
    scored = command("evaluate", run, "-n", 30, "--json")
    assert scored.code == 0, scored.err
    figures = {m["name"]: m for m in scored.json["figures"]}
    assert {"RMSE", "CRPS", "QICE", "PICP 95 %", "NLL"} <= set(figures)
    assert 0 < figures["QICE"]["against"] < 0.2
    page = command("report", run, "-n", 30)
    assert page.code == 0, page.err
    text = (run / "report.html").read_text(encoding="utf-8")
    for part in ("Can the quantiles be believed?", "How sure it is", "The rows it is least sure of", "loss"):
        assert part in text
    assert "nan" not in text.lower().split()
    assert "card" in command("info", run).out


def test_python_reads_the_run_and_predicts(run, rows):
    from pushforward.api import predict
    from pushforward.data.frames import frame_of

    found = predict(pf.load(run), frame_of({"size": [50.0, 90.0], "kind": ["a", "c"]}), samples=8)
    assert found.columns["price"][1] > found.columns["price"][0]


def test_classes_of_text(rows, command, tmp_path):
    from pushforward.config.families.card import build
    from pushforward.config.family_schema.card import CardConfig
    from pushforward.config.predicting import predictor_of

    table = write(tmp_path / "table.csv", [[s, p, k] for s, k, p in rows], ("size", "price", "kind"))
    run = tmp_path / "run"
    split = ("--set", "data.validation=0.2")
    assert command("train", tmp_path / "table.csv", "--target", "kind", *QUICK, *split, "--out", run).code == 0
    table = table.rename(tmp_path / "moved.csv")  # the temperature is known where the data are not
    assert 0 < json.loads((run / "temperature.json").read_text())["temperature"] < 100
    out = tmp_path / "out.csv"
    assert command("predict", run, table, "-o", out, "-n", 10).code == 0
    with out.open(newline="") as file:
        first = next(csv.DictReader(file))
    assert list(first) == ["kind", "p_a", "p_b", "p_c", "width", "p_value"] and first["kind"] in "abc"
    p = [float(first[f"p_{k}"]) for k in "abc"]
    assert sum(p) == pytest.approx(1, abs=1e-4)
    assert float(first["width"]) == pytest.approx(1 - sum(q * q for q in p), abs=1e-4)
    table.rename(tmp_path / "table.csv")
    assert command("report", run, "-n", 20).code == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Can the probabilities be believed?" in text
    assert 0 < json.loads((run / "temperature.json").read_text())["temperature"] < 100
    scored = json.loads((run / "evaluation.json").read_text())
    assert {m["name"] for m in scored["figures"]} >= {"accuracy", "ECE", "PAvPU"}
    form, other = pf.load(run).data().format, ("--set", "model.log_probabilities=false")
    assert identity(run)["log_probabilities"] is True
    again = ("train", tmp_path / "table.csv", "--target", "kind", *QUICK, *split, *other, "--out")
    assert "log_probabilities was True" in command(*again, run).err
    assert command(*again, tmp_path / "other").code == 0
    assert "log_probabilities" not in identity(tmp_path / "other")
    assert predictor_of(pf.load(run)).card.log_probabilities
    assert not build(CardConfig(small=True, folds=2), form).log_probabilities  # as it was stored before there was a key


def test_no_column_takes_the_place_of_the_class(command, tmp_path):
    rng = np.random.default_rng(0)
    rows = [[round(x, 3), "wide" if x > 0 else "narrow"] for x in rng.normal(size=40)]
    table = write(tmp_path / "table.csv", rows, ("a", "width"))
    run, out = tmp_path / "run", tmp_path / "out.csv"
    assert command("train", table, "--target", "width", *QUICK, "--out", run).code == 0
    assert command("predict", run, table, "-o", out, "-n", 4).code == 0
    with out.open(newline="") as file:
        first = next(csv.DictReader(file))
    assert list(first) == ["width", "p_narrow", "p_wide", "width (2)", "p_value"] and first["width"] in (
        "narrow",
        "wide",
    )
    said = command("predict", run, table, "--quantile", 0.5)
    assert said.code == 2 and "probabilities and no quantiles" in said.err


def test_files_keep_what_varies_in_the_last_of_many_digits_and_any_name(tmp_path):
    from pushforward.config.predicting import Predicted
    from pushforward.models.predictor import Prediction

    times = 1.7e9 + np.array([[0.0], [61.0]])
    law = Prediction(times, np.ones((2, 1)), (), np.zeros((2, 0, 1)), times[:, None])
    found = Predicted(law.columns(("file",)), law)
    with found.save(tmp_path / "out.csv").open(newline="") as file:
        assert [float(row["file"]) for row in csv.DictReader(file)] == times[:, 0].tolist()
    stored = np.load(found.save(tmp_path / "out.npz"))
    assert stored["file"].tolist() == times[:, 0].tolist() and stored["draws"].shape == (2, 1, 1)


def test_the_variance_for_analytic_samplers_is_that_of_rows_that_f_has_not_seen(run, rows, monkeypatch):
    from pushforward.config import predicting
    from pushforward.data.frames import frame_of
    from pushforward.models.predictor import Predictor

    given = []
    own = Predictor.with_variance
    monkeypatch.setattr(Predictor, "with_variance", lambda *a: given.append(a) or own(*a))
    loaded = pf.load(run)
    predicting.predict(loaded, frame_of({"size": [50.0], "kind": ["a"]}), samples=2, sampler="analytic-ddpm")
    predictor, x, y, f = given[0]
    data = loaded.data()
    held = predictor.card.prepare(data.train, data.validation)[1].values
    assert np.allclose(f, held[:, 1:2]) and not np.allclose(f, predictor.mean_of(x), atol=1e-3) and len(x) == len(y)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [[s, k, 5] for s, k, _ in rows], "constant (5) in all training rows"),
        (lambda rows: [[s, k, p] for s, k, p in rows[:9]], "has 9 rows, and at least 10 are needed"),
        (lambda rows: [["", *rows[0][1:]], *rows[1:]], "in the columns 'size' (1 row, first 0)"),
        (lambda rows: [[*rows[0][:2], "nan"], *rows[1:]], "in the columns 'price' (1 row, first 0)"),
        (lambda rows: [[1e300, *rows[0][1:]], *rows[1:]], "'size' has 1e+300 in row 0, and numbers below 1e+100"),
        (lambda rows: [[s, f"id{i}", p] for i, (s, _, p) in enumerate(rows)], "has 90 different texts in 90 rows"),
        (lambda rows: [rows[0][:2], *rows[1:]], "has 2 cells, and 3 were expected"),
    ],
)
def test_broken_tables_are_refused(change, said, rows, refused, tmp_path):
    table = write(tmp_path / "table.csv", change(rows))
    assert said in refused("train", table, "--target", "price", *QUICK, "--out", tmp_path / "run")


def test_what_makes_no_sense_is_refused(run, rows, refused, tmp_path):
    table = write(tmp_path / "table.csv", rows)
    out = tmp_path / "run"
    assert "no column 'cost' to predict" in refused("train", table, "--target", "cost", *QUICK, "--out", out)
    for without in (write_numbers(tmp_path), table):
        assert "name it, --target" in refused("train", without, *QUICK, "--out", out)
    assert "nothing is known of a value so far from it" in refused(
        "predict", run, write(tmp_path / "far.csv", [[1e12, "a"]], ("size", "kind"))
    )
    assert "predicts none" in refused(
        "train", table, "--target", "price", "--family", "flow", "--steps", 1, "--out", out
    )
    assert "predict it as a class" in refused("train", table, "--target", "kind", "--no-classify", *QUICK, "--out", out)
    assert "no column 'kind'" in refused("predict", run, write(tmp_path / "a.csv", [[3.0]], ("size",)))
    assert "'z' that training never saw" in refused(
        "predict", run, write(tmp_path / "b.csv", [[3, "z"]], ("size", "kind"))
    )
    assert "predictions are written as" in refused("predict", run, table, "-o", tmp_path / "out.png")
    assert "no data at" in refused("predict", run, tmp_path / "nothing.csv")
    assert "makes no rows" in refused("sample", run)
    assert "denoisers" in refused("tune", run, "--evaluations", 5)
    assert "did you mean 'heun'" in refused("predict", run, table, "--sampler", "huen")
    other = write(tmp_path / "test.csv", [[3.0, "a", "text"]])
    assert "holds texts" in refused(
        "train", table, "--target", "price", *QUICK, "--set", f"data.test={other}", "--out", out
    )


def write_numbers(folder):
    return write(folder / "numbers.csv", [[i, i * i % 7] for i in range(30)], ("a", "b"))


def test_a_class_that_training_never_saw_is_refused(rows, refused, tmp_path):
    table = write(tmp_path / "table.csv", rows)
    test = write(tmp_path / "test.csv", [[30.0, "d", 10.0], [31.0, "a", 12.0]])
    said = refused("train", table, "--target", "kind", *QUICK, "--set", f"data.test={test}", "--out", tmp_path / "run")
    assert "the label 'd', which the training data does not have" in said
