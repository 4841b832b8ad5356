"""Samplers compared: on a model whose samples are known to be good, by numbers that can be told from bad ones."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest

from pushforward.data.sources import load
from pushforward.errors import UserError
from pushforward.paths import EDM, Karras
from pushforward.report.evaluation import evaluate_generator
from pushforward.report.run_report import write_report
from pushforward.report.sampler_scores import Comparison, Judge, Quality, Scored, compare_samplers
from pushforward.report.sampler_sections import ranked, sampler_chart, samplers_compared
from pushforward.samplers import DDIM, Heun, Sampler, default_sampler


def heun(budget):
    if budget < 2:
        raise UserError("too few")
    return Sampler(Heun(), Karras())


CHOICES = {
    "default": lambda budget: default_sampler(EDM(), budget),
    "heun": heun,
    "ddim": lambda budget: Sampler(DDIM, Karras()),
}


@pytest.fixture(scope="module")
def compared(smooth, digits):
    told = []
    found = compare_samplers(
        smooth, digits, CHOICES, (1, 6, 12), n=100, tell=lambda *done: told.append(done), adaptive=["ddim"]
    )
    assert told == [(i, 7) for i in range(1, 8)]
    return found


def test_good_samples_are_at_the_floor_and_bad_ones_are_not(compared):
    assert compared.names == ["default", "heun", "ddim"] and (compared.n, compared.n_test) == (100, 180)
    assert {name: [row.asked for row in compared.of(name)] for name in compared.names} == {
        "default": [1, 6, 12],
        "heun": [6, 12],
        "ddim": [12],
    }
    assert compared.refused == {"heun, 1 evaluations": "too few"}
    good, bad = compared.of("default")[-1], compared.of("default")[0]
    assert 0.7 < compared.ratio(good) < 1.5 and compared.ratio(bad) > 1.5
    assert good.quality.accuracy > 0.9 and good.quality.mmd < bad.quality.mmd
    assert [row.evaluations for row in compared.of("heun")] == [5, 11]
    assert compared.best(6).name == "default" and ranked(compared) == ["default", "heun", "ddim"]
    assert all(row.seconds > 0 for row in compared.rows)
    assert json.loads(json.dumps(compared.to_dict()))["floor"]["frechet"] == compared.floor.frechet


def test_the_judge_knows_real_data_from_noise(digits):
    judge = Judge.of(digits, 1000)
    assert judge.n == len(digits.train) // 2
    real = digits.train.values[: judge.n]
    right = judge.score(real, digits.train.labels[: judge.n])
    wrong = judge.score(np.random.default_rng(0).permutation(real.reshape(-1)).reshape(real.shape), None)
    assert right.frechet < 1.3 * judge.floor.frechet < wrong.frechet / 3
    assert right.accuracy > 0.95 and wrong.accuracy is None and abs(judge.floor.mmd) < 0.05 < wrong.mmd


def test_too_few_items_are_refused():
    with pytest.raises(UserError, match="there are 27 training items and 6 test items"):
        Judge.of(load(np.random.default_rng(0).normal(size=(33, 3)), validation=0.0, test=0.18), 100)


def test_rows_without_labels_are_compared_too():
    judge = Judge.of(load(np.random.default_rng(0).normal(size=(200, 3)), test=0.2), 50)
    assert judge.classifier is None and judge.score(np.zeros((50, 3)), None).accuracy is None


def made(name, *pairs):
    return [Scored(name, n, n, 0.01, 0.01, Quality(ratio * 2.0, 0.0, None)) for n, ratio in pairs]


def test_the_chart_names_every_line_and_shows_the_best():
    rows = [row for i in range(9) for row in made(f"s{8 - i}", (5, 20 - i), (50, 2 + i / 10))]
    found = Comparison(tuple(rows), Quality(2.0, 0.0, None), 100, 90, "pixels", {})
    assert ranked(found) == [f"s{i}" for i in range(9)]
    chart = sampler_chart(found, most=3)
    assert all(f">s{i}<" in chart for i in range(9)) and ">real data<" in chart
    assert [f'font-weight="600">s{i}<' in chart for i in range(9)] == [True] * 3 + [False] * 6
    label = r'<text x="[\d.]+" y="([\d.]+)" text-anchor="end" (?:fill="currentColor" opacity=".65"|fill="var)'
    heights = [float(y) for y in re.findall(label, chart)]
    assert len(heights) == 10 and all(b - a >= 14.9 for a, b in itertools.pairwise(heights))
    html = "".join(samplers_compared(found).content)
    assert html.count("<tr>") == 10 and "10 ms" in html


def test_a_report_has_the_section_if_asked(compared, smooth, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("pushforward.report.run_report.image_sections", lambda _: [])
    monkeypatch.setattr("pushforward.report.run_report.training_sections", lambda *_: [])
    evaluation = evaluate_generator(smooth, digits, n=20, steps=2)
    for given in (None, compared):
        path = write_report(smooth, digits, {}, [], evaluation, tmp_path / "report.html", compared=given)
        assert ("Samplers compared" in path.read_text(encoding="utf-8")) == (given is not None)
