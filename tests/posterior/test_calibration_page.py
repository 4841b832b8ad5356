"""The page of a calibration says what was found, for draws that are right and for draws that are not."""

from __future__ import annotations

import json
from dataclasses import replace

import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import Gaussian, Identity
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import Agreement, Calibration, Posterior, on_items, scaled, stein_test
from pushforward.posterior.checks import Check
from pushforward.report.calibration_page import calibration_page, calibration_values

F64 = torch.float64


def calibration(widen: float = 1.0, items: int = 80, shift: float = 0.0) -> Calibration:
    """x ~ N(0, 1) of twelve numbers, y = x + n of the same size: draws of N(y/2, 1/2), perhaps of another width."""
    size = 12
    prior = Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, size, dtype=F64), torch.ones(1, dtype=F64))
    denoiser, found = MixtureDenoiser(prior, EDM(0.005, 20.0)), []
    for seed in (0, 1):
        x = Draws.of(seed, range(items), "x").normal((size,), F64)
        likelihood = Gaussian.measure(Identity(), x, 1.0, Draws.of(seed, range(items), "noise"))
        z = Draws.of(seed, range(19), "draws").normal((items, size), F64)
        answer = Posterior(likelihood.y / 2 + shift + widen * 0.5**0.5 * z, 1.0, likelihood)
        stein = stein_test(answer, denoiser, Draws.of(seed, range(items), "stein"), at_once=300)
        found.append((answer, x, None, stein))
    scale, held, plain = scaled(*found[1][:2])
    return Calibration("exact", 500.0, 19, items, on_items(*found[0]), on_items(*found[1]), scale, held, plain, 1.0)


def test_right_draws():
    told = calibration()
    page = calibration_page(told, "digits")
    assert page.verdict.good and "cannot be told" in page.verdict.text
    values = json.loads(json.dumps(calibration_values(told)))
    assert values["drawn"]["calibrated"] and values["true"]["calibrated"]
    assert abs(values["drawn"]["coverage"]["0.9"] - 0.9) < 0.03
    assert abs(told.held - 0.9) < 0.05
    assert values["drawn"]["stein"]["p"] > 0.01 and values["drawn"]["stein"]["share"] < 0.15
    text = page.render()
    assert "Stein discrepancy" in text
    assert text.count("<svg") == 5 and "Where the truth stands" in text


def test_draws_that_are_too_sure():
    told = calibration(0.5)
    page = calibration_page(told, "digits")
    assert not page.verdict.good and "can be told" in page.verdict.text
    assert told.drawn.curve.at(0.9) < 0.7
    assert abs(told.held - 0.9) < 0.05 and told.plain < 0.75
    assert 2 < told.scale.scale / 1.645 < 2.6


def test_a_model_that_is_not_of_one_mind_is_said_to_be_the_cause():
    told = replace(calibration(0.5), levels=Agreement((Check("log p(y | x)", -0.4, 0.0, 1e-6),)))
    page = calibration_page(told, "digits")
    assert "levels of noise disagree" in page.verdict.text and "of one mind" in page.render()
    assert calibration_values(told)["levels"] == {"log p(y | x)": {"drift": -0.4, "p": 1e-6}}
    agreeing = replace(told, levels=Agreement((Check("log p(y | x)", -0.01, 0.0, 0.7),)))
    assert "disagree" not in calibration_page(agreeing, "digits").verdict.text


def test_draws_that_are_displaced_are_told_by_the_scores():
    told = calibration(items=24, shift=0.5)
    assert told.true.stein is not None and told.true.stein.combined < 1e-3
    assert told.drawn.stein is not None and told.drawn.stein.combined < 1e-3
