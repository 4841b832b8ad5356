"""Comparison of families: spreads over seeds, who leads, what is stored, the page."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pushforward.config.presets import USUAL
from pushforward.data.format import Format
from pushforward.data.pixels import Layout, Pixels
from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.report.contenders import (
    BITS,
    COSTS,
    FRECHET,
    MEASURES,
    SAMPLE_TIME,
    Contender,
    FamilyComparison,
    Likelihood,
    read_contender,
    write_json,
)
from pushforward.report.evaluation import GeneratorEvaluation
from pushforward.report.family_page import ABOUT, Shown, verdict, write_family_page


def contender(family, seed, frechet, bits=None, seconds=1e-3):
    rows = (Row("FD[pca]", frechet, 2.0, "", "low", 100), Row("precision[pca]", 0.5, 0.9, "", "high", 100))
    evaluation = GeneratorEvaluation(
        100, None, seed, 1.0, Evaluation(rows, 100, 80, "pca"), (), {}, seconds, None, 1 << 20
    )
    likelihood = None if bits is None else Likelihood(-bits, 0.1, bits, 4.0, "exact")
    return Contender(family, seed, f"runs/{family}-{seed}", 1000, 50, 60.0, 1 << 20, evaluation, likelihood, "none", {})


def comparison():
    found = [
        contender("flow", 0, 4.0, 2.0, 1e-4),
        contender("flow", 1, 5.0, 2.2, 1e-4),
        contender("gan", 0, 2.4, None),
        contender("gan", 1, 4.0, None),
        contender("vae", 0, 9.0, 2.15, 1e-4),
        contender("vae", 1, 9.2, 2.25, 1e-4),
    ]
    return FamilyComparison("things", "100 steps", tuple(found))


def test_means_and_deviations_are_over_seeds():
    assert comparison().spread("flow", FRECHET) == pytest.approx((2.25, math.sqrt(0.125)))
    assert comparison().spread("gan", BITS) is None
    one = FamilyComparison("", "", (contender("flow", 0, 4.0),))
    assert one.spread("flow", FRECHET).mean == 2.0 and math.isnan(one.spread("flow", FRECHET).sd)


def test_the_best_are_those_that_no_other_beats_by_more_than_the_spread():
    assert comparison().best(FRECHET) == ["flow", "gan"]  # 2.25 ± 0.35 and 1.6 ± 0.57
    assert comparison().best(BITS) == ["flow", "vae"]  # 2.1 ± 0.14 and 2.2 ± 0.07
    assert comparison().best(SAMPLE_TIME) == ["flow", "vae"]
    assert comparison().best(COSTS[0]) == []  # neither more nor fewer parameters are better


def test_real_data_and_the_gaussian_stand_beside():
    assert comparison().real(FRECHET) == 1.0 and comparison().gaussian == 4.0
    assert comparison().real(BITS) is None
    assert [m.name for m in comparison().measured(MEASURES)] == [BITS.name, FRECHET.name, "precision"]


def test_a_contender_is_stored_and_read_again(tmp_path):
    one = contender("flow", 3, 4.0, 2.0)
    path = tmp_path / "contender.json"
    write_json(path, one.to_dict())
    assert read_contender(path) == one
    path.write_text(path.read_text()[:-40])
    assert read_contender(path) is None and read_contender(tmp_path / "none.json") is None


def test_the_summary_is_json_without_nan(tmp_path):
    one = FamilyComparison("", "", (contender("flow", 0, math.nan),))
    write_json(tmp_path / "c.json", one.to_dict())
    stored = json.loads((tmp_path / "c.json").read_text())
    assert stored["summary"]["flow"][FRECHET.name] == {"mean": None, "sd": None}


def test_the_verdict_names_who_leads_and_in_what():
    text = verdict(comparison()).text
    assert text.startswith("Flow and VAE have the highest likelihood, in the fewest bits per dimension (2.1")
    assert "flow and GAN have the samples nearest to real data" in text and "flow and VAE draw fastest" in text


def test_the_page_says_of_every_family_what_it_is():
    assert set(ABOUT) == set(USUAL) and all(all(words) for words in ABOUT.values())


def test_the_page_shows_every_family_and_says_why_there_is_no_likelihood(tmp_path):
    form = Format(Pixels((1, 4, 4), Layout.PLANE, "uint8", 0, 16, True))
    images = np.random.default_rng(0).integers(0, 17, size=(5, 4, 4), dtype=np.uint8)
    shown = Shown(form, images, dict.fromkeys(("flow", "gan", "vae"), images))
    path = write_family_page(comparison(), shown, "pushforward compare things", tmp_path / "c.html")
    page = path.read_text(encoding="utf-8")
    for words in ("Samples side by side", "2.10 ★", "Why diffusion models?", "GAN", "pushforward compare things"):
        assert words in page
    assert "no likelihood: none" in page and "nan" not in page.lower().replace("finance", "").split()
