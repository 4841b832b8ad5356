"""Every family through the commands: train, resume, sample, likelihood, evaluate, report, info; and what it refuses."""

from __future__ import annotations

import html
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

from pushforward.config.presets import GENERAL

SIZES = {
    "diffusion": ("model.network.width=8",),
    "vae": ("model.width=8",),
    "energy": ("model.width=8",),
    "flow": ("model.width=8", "model.layers=2"),
    "gan": ("model.width=8",),
}
"""Settings that make each family small."""
OTHERS = [family for family in GENERAL if family != "diffusion"]
AT_ONCE = [family for family in OTHERS if family != "energy"]
"""Those that are no denoisers."""


def small(family, *more):
    settings = [part for setting in (*SIZES[family], "training.batch_size=16", *more) for part in ("--set", setting)]
    return ("--family", family, "--steps", 3, "--device", "cpu", *settings)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 17, size=(120, 8, 8), dtype=np.uint8), y=np.arange(120) % 3)
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    rng = np.random.default_rng(1)
    values = [
        f"{a:.4f},{b:.4f},{c},{'xy'[c % 2]}" for a, b, c in zip(*rng.normal(size=(2, 120)), range(120), strict=True)
    ]
    path.write_text("\n".join(["a,b,c,kind", *values]) + "\n")
    return path


@pytest.mark.parametrize("family", OTHERS)
def test_a_family_on_images(family, images, command, tmp_path):
    run = tmp_path / "run"
    trained = command("train", images, *small(family), "--out", run, "--json")
    assert trained.code == 0, trained.err
    assert command("train", images, *small(family), "--out", run, "--json").json["step"] == 3
    drawn = command("sample", run, "-n", 6, "-o", tmp_path / "some.npz", "--label", "2", "--json")
    assert drawn.code == 0 and drawn.json["shape"] == [6, 8, 8]
    assert ("steps" in drawn.json) == (family not in AT_ONCE)
    assert set(np.load(tmp_path / "some.npz")["y"]) == {2}
    assert family in command("info", run).out
    page = command("report", run, "-n", 20)
    assert page.code == 0, page.err
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Real beside generated" in text and "nan" not in text.lower().split()
    assert ("From noise to data" in text) == (family not in AT_ONCE)
    stored = json.loads((run / "evaluation.json").read_text())
    assert stored["n"] == 20
    assert (stored["steps"] is None) == (stored["evaluations"] is None) == (family in AT_ONCE)


@pytest.mark.parametrize("family", OTHERS)
def test_a_family_on_a_table(family, rows, command, tmp_path):
    run = tmp_path / "run"
    trained = command("train", rows, *small(family), "--out", run, "--label-column", "kind")
    assert trained.code == 0, trained.err
    assert command("sample", run, "-n", 5, "-o", tmp_path / "more.csv").code == 0
    assert (tmp_path / "more.csv").read_text().splitlines()[0] == "a,b,c,kind"
    scored = command("likelihood", run, "-n", 8, "--json")
    if family == "gan":
        assert scored.code == 2 and "no likelihood" in scored.json["error"]
    else:
        assert scored.code == 0 and np.isfinite(scored.json["nats"]["mean"])


@pytest.mark.parametrize("family", AT_ONCE)
def test_what_is_a_denoisers_alone_is_refused(family, rows, command, refused, tmp_path):
    run = tmp_path / "run"
    assert command("train", rows, *small(family), "--out", run, "--label-column", "kind").code == 0
    assert "leave it out" in refused("sample", run, "--steps", 5)
    assert "denoisers" in refused("sample", run, "--sampler", "ddim")
    assert "denoisers" in refused("tune", run, "--evaluations", 5)
    if family == "gan":
        assert "denoisers" in refused("encode", run, "-o", tmp_path / "z.npz")
    assert "denoisers" in refused("report", run, "--samplers")


@pytest.mark.parametrize("family", ["flow", "vae"])
def test_latents_of_flows_and_autoencoders(family, rows, command, refused, tmp_path):
    run = tmp_path / "run"
    assert command("train", rows, *small(family), "--out", run, "--label-column", "kind").code == 0
    encoded = command("encode", run, "-n", 5, "-o", tmp_path / "z.npz", "--json")
    assert encoded.code == 0, encoded.err
    assert encoded.json["shape"] == [5, 3 if family == "flow" else 2]
    between = command("interpolate", run, "--items", "0,3", "--steps", 5, "-o", tmp_path / "way.csv")
    assert between.code == 0, between.err
    way = np.loadtxt(tmp_path / "way.csv", delimiter=",", skiprows=1)
    assert way.shape == (5, 3)
    if family == "flow":  # the ends are the items themselves
        import pushforward as pf

        test = pf.load(run).data().test
        assert way[[0, -1]] == pytest.approx(np.asarray(test.values)[[0, 3]], abs=2e-3)
    assert "leave them out" in refused("encode", run, "--evaluations", 9, "-o", tmp_path / "z.npz")


CODES = ("model.posterior=codes", "model.codebook.count=8", "model.codebook.size=4")


@pytest.mark.parametrize("kind", ["images", "rows"])
def test_vector_quantised_latents(kind, images, rows, command, refused, tmp_path):
    data, run, extra = (
        (images, tmp_path / "run", ()) if kind == "images" else (rows, tmp_path / "run", ("--label-column", "kind"))
    )
    again = ("train", data, *small("vae", *CODES), "--out", run, *extra, "--json")
    assert command(*again).code == 0
    assert command(*again).json["step"] == 3  # continued: there is nothing left to do
    info = command("info", run).out
    assert "8 codes" in info
    drawn = command("sample", run, "-n", 4, "-o", tmp_path / "some.npz", "--json")
    assert drawn.code == 0, drawn.err
    scored = command("likelihood", run, "-n", 8, "--json")
    assert scored.code == 0 and np.isfinite(scored.json["nats"]["mean"])
    encoded = command("encode", run, "-n", 5, "-o", tmp_path / "z.npz", "--json")
    assert encoded.code == 0, encoded.err
    assert encoded.json["shape"] == ([5, 4, 4] if kind == "images" else [5, 1, 1])
    codes = np.load(tmp_path / "z.npz")["z"]
    assert codes.dtype == np.int64 and codes.min() >= 0 and codes.max() < 8
    assert "no way from one code to another" in refused("interpolate", run, "--steps", 3)
    page = command("report", run, "-n", 20)
    assert page.code == 0, page.err
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Which codes are used" in text and "What the code keeps" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("model.posterior=codes", "model.prior=flow"), "a law of their own"),
        (("model.posterior=codes", "model.samples=5"), "model.samples has no meaning where the latents are codes"),
        (("model.posterior=codes", "model.codebook.halvings=1"), "model.codebook.halvings is of images"),
        (("model.prior=codes",), "model.posterior=diagonal has none"),
    ],
)
def test_settings_that_do_not_go_with_codes_are_refused(settings, words, rows, refused):
    settings = [part for setting in settings for part in ("--set", setting)]
    assert words in refused("train", rows, "--family", "vae", "--steps", 1, "--label-column", "kind", *settings)


def test_log_z_is_estimated_once_for_these_weights_and_stored(rows, command, tmp_path, monkeypatch):
    from pushforward.models.noisy_energy import NoisyEnergyModel

    asked, run = [], tmp_path / "run"
    estimate = NoisyEnergyModel.estimate_log_z

    def counting(self, draws, label=None, *, rungs):
        asked.append((label, len(draws), rungs))
        return replace(estimate(self, draws[:8], label, rungs=3), chains=len(draws))

    monkeypatch.setattr(NoisyEnergyModel, "estimate_log_z", counting)
    assert command("train", rows, *small("energy"), "--out", run, "--label-column", "kind").code == 0
    first, again = (command("likelihood", run, "-n", 8, "--json").json for _ in range(2))
    assert first["nats"] == again["nats"] and asked == [(None, 512, 300)]
    stored = json.loads((run / "log_z.json").read_text())
    [entry] = stored["labels"].values()
    assert entry["chains"] == 512 and entry["standard_error"] > 0 and 1 <= entry["effective"] <= 8
    assert f"{entry['effective']:.3g} of 512 chains effective" in again["method"]
    labelled = command("likelihood", run, "-n", 8, "--own-labels", "--json")
    assert labelled.code == 0 and [label for label, *_ in asked[1:]] == [0, 1]
    assert set(json.loads((run / "log_z.json").read_text())["labels"]) == {"none", "0", "1"}
    (run / "log_z.json").write_text(json.dumps({**stored, "weights": "of others"}))
    assert command("likelihood", run, "-n", 8, "--json").json["nats"] == first["nats"] and len(asked) == 4
    (run / "log_z.json").write_text("{")
    assert command("likelihood", run, "-n", 8, "--json").json["nats"] == first["nats"] and len(asked) == 5


def test_an_adversarial_run_tells_its_figures_and_advice(images, command, tmp_path):
    run = tmp_path / "run"
    trained = command("train", images, *small("gan", "training.log_every=1"), "--out", run, "--json")
    assert trained.code == 0, trained.err
    figures = [
        line["figures"]
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        if "figures" in line
    ]
    assert len(figures) == 3 and {"accuracy", "saturation", "generator_saturation", "coverage"} <= set(figures[-1])
    assert command("report", run, "-n", 20).code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "How the game went" in page
    said = trained.json["advice"]
    assert all(sentence in html.unescape(page) for sentence in said)
    assert ("What the log advises" in page) == bool(said)


def test_a_family_that_does_not_exist_and_a_preset_of_another_are_refused(rows, refused):
    assert "possible: diffusion" in refused("train", rows, "--family", "vea", "--steps", 1)
    assert "did you mean vae" in refused("train", rows, "--family", "vea", "--steps", 1)
    assert "not one of the family vae" in refused("train", rows, "--family", "vae", "--preset", "edm", "--steps", 1)
    said = refused("train", rows, "--set", "model.posterior=full", "--steps", 1)
    assert "a setting where model.family is vae" in said


def test_families_are_compared(rows, command, tmp_path):
    out = tmp_path / "compared"
    asked = ("--family", "gan", "--family", "flow", "--steps", 2, "--parameters", 20_000, "--seeds", 1, "-n", 40)
    settings = ("--set", "training.batch_size=16", "--label-column", "kind", "--device", "cpu", "--out", out)
    found = command("compare", rows, *asked, *settings, "--json")
    assert found.code == 0, found.err
    assert list(found.json["summary"]) == ["gan", "flow"] and found.json["seeds"] == [0]
    assert found.json["summary"]["flow"]["log-likelihood, nats"]["sd"] is None
    page = (out / "comparison.html").read_text(encoding="utf-8")
    told = html.unescape(re.search("pushforward compare [^<]*", page)[0])
    typed = shlex.split(told)[2:]
    assert typed[0] == str(rows)
    again = command(*shlex.split(told)[1:], "--json")
    assert again.code == 0 and again.json["contenders"] == found.json["contenders"]  # the same, so nothing was trained


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--family", "nosuch"), "no family 'nosuch'"),
        (("--seeds", 0), "at least one seed; got 0"),
        (("--minutes", -1), "positive number of minutes; got -1"),
        (("-n", 0), "at least 1; got 0"),
    ],
)
def test_a_comparison_is_refused_before_anything_is_read(asked, said, command, tmp_path):
    """The data are not even there."""
    refused = command("compare", tmp_path / "none.csv", *asked, "--out", tmp_path / "out")
    assert refused.code == 2 and said in refused.err and not (tmp_path / "out").exists()
