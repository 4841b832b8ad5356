"""Scores and report from the command line, and the demo: made once, then used again."""

from __future__ import annotations

import json

import pytest

from pushforward.cli import demo as module

TINY = [
    "--set",
    "model.network=unet",
    "--set",
    "model.network.width=8",
    "--set",
    "model.network.blocks=1",
    "--set",
    "training.batch_size=16",
]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A run on the digits, of two steps."""
    from pushforward.cli.main import main

    out = tmp_path_factory.mktemp("digits") / "run"
    assert main(["train", "digits", "--out", str(out), "--quiet", "--steps", "2", "--device", "cpu", *TINY]) == 0
    return out


def test_evaluate_writes_and_prints_numbers_with_floors(command, digits_run):
    argv = ["evaluate", digits_run, "-n", 40, "--steps", 2, "--quiet"]
    values = command(*argv, "--json").json
    rows = {row["name"]: row for row in values["scores"]["rows"]}
    assert len(rows) >= 5 and all(row["floor"] is not None for row in rows.values())
    assert json.loads((digits_run / "evaluation.json").read_text())["n"] == 40
    said = command(*argv)
    assert said.code == 0 and "floor" in said.out and all(name in said.out for name in rows)


def test_report_is_one_page(command, digits_run, tmp_path):
    said = command("report", digits_run, "-n", 40, "--steps", 2, "--quiet", "--json", "-o", tmp_path / "r.html")
    assert said.code == 0, said.err
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "pushforward train again.toml" in page


def test_samplers_are_compared_on_request(command, digits_run, tmp_path, monkeypatch):
    from pushforward.cli import evaluate

    monkeypatch.setattr(evaluate, "COMPARED", ("default", "analytic-ddpm"))
    monkeypatch.setattr(evaluate, "COMPARISON", (40, (2, 3)))
    said = command("report", digits_run, "-n", 40, "--steps", 2, "--quiet", "--samplers", "-o", tmp_path / "r.html")
    assert said.code == 0, said.err
    page = (tmp_path / "r.html").read_text()
    assert "Samplers compared" in page and page.count("analytic-ddpm") >= 2
    assert (digits_run / "variance.json").exists()


def test_an_analytic_sampler_from_the_command_line(command, digits_run, tmp_path):
    argv = ["sample", digits_run, "-n", 3, "--steps", 4, "--sampler", "analytic-ddim", "--quiet", "--json"]
    first = command(*argv, "-o", tmp_path / "a.npz")
    assert first.code == 0 and first.json["sampler"] == "analytic-ddim", first.err


@pytest.mark.parametrize("name", ["evaluate", "report"])
def test_what_cannot_be_scored_is_refused(refused, digits_run, tmp_path, name):
    assert "nowhere is not a run" in refused(name, tmp_path / "nowhere")
    assert "at least" in refused(name, digits_run, "-n", -3, "--quiet")
    assert "at least" in refused(name, digits_run, "-n", 20, "--steps", 0, "--quiet")


def test_data_that_has_changed_is_refused(command, refused, tmp_path):
    from .conftest import SMALL, write_csv

    data = write_csv(tmp_path / "t.csv")
    run = tmp_path / "run"
    assert command("train", data, "--label-column", "kind", "--out", run, "--quiet", *SMALL).code == 0
    write_csv(data, rows=41)
    assert "changed" in refused("report", run, "--quiet")
    data.unlink()
    assert "t.csv" in refused("evaluate", run, "--quiet")


def test_the_demo_is_made_once_and_then_used_again(command, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 30)
    monkeypatch.setattr(module, "STEPS", 2)
    monkeypatch.setattr(module, "COMPARED", 20)
    monkeypatch.setattr(module, "BUDGETS", (2, 4))
    out = tmp_path / "demo"
    argv = ["demo", "--out", out, "--minutes", 0.002, "--device", "cpu", *TINY]
    first = command(*argv, "--json", "--quiet")
    assert first.code == 0, first.err
    assert (out / "report.html").exists() and (out / "samples.png").exists()
    written = (out / "report.html").stat().st_mtime_ns
    second = command(*argv)
    assert second.code == 0 and str(out / "report.html") in second.out and "written before" in second.out
    assert (out / "report.html").stat().st_mtime_ns == written
    assert first.json["scores"]["n"] == 30
    assert "Samplers compared" in (out / "report.html").read_text() and (out / "variance.json").exists()


def test_the_settings_of_the_demo_are_valid():
    config = module.demo_config(module.MINUTES, 0, None, ())
    assert config.training.minutes == module.MINUTES and config.data.source == "digits"
