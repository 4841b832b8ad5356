"""Evaluations of generators whose quality is known: one like the data, one that repeats them, one of nothing."""

import json
import math

import numpy as np
import pytest

from pushforward.data.sources import load
from pushforward.errors import UserError
from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.report.evaluation import (
    GeneratorEvaluation,
    Loss,
    evaluate_generator,
    read_evaluation,
    some_values,
    training_labels,
)

from .conftest import kernel_generator


@pytest.fixture(scope="module")
def copied(digits):
    return evaluate_generator(kernel_generator(digits, 0.0), digits, n=120, steps=8)


def test_a_model_that_repeats_its_training_data_is_exposed(copied):
    assert copied["near copies"].value == 1
    assert copied["near copies"].reached is False
    assert copied.reached is False
    assert copied["label accuracy"].value > 0.97  # it is the copies that betray it, not the quality
    assert copied["precision"].value > 0.8
    assert copied.losses["train"].value < 0.7 * copied.losses["test"].value


def test_the_cost_is_counted_in_evaluations(copied, digits):
    assert copied.evaluations == 8
    assert copied.seconds > 0
    assert copied.memory is None or copied.memory > 1e7
    found = evaluate_generator(kernel_generator(digits, 0.2), digits, n=20, steps=3, guidance=1.5)
    assert found.evaluations == 6


def test_an_evaluation_is_repeated_by_its_seed(digits):
    model = kernel_generator(digits, 0.2)
    one, two = (evaluate_generator(model, digits, n=60, steps=4, seed=3) for _ in range(2))
    assert one.scores == two.scores
    assert one.losses == two.losses
    assert evaluate_generator(model, digits, n=60, steps=4, seed=4).scores != one.scores


def test_progress_counts_samples(digits):
    seen = []
    evaluate_generator(kernel_generator(digits, 0.2), digits, n=30, steps=2, progress=lambda *a: seen.append(a))
    assert seen == [(30, 30)]


def test_labels_keep_the_proportions_of_the_training_data():
    rng = np.random.default_rng(0)
    labels = np.array([7] * 150 + [3] * 50)
    data = load((rng.normal(size=(200, 2)), labels))
    model = kernel_generator(data, 0.3)
    names = training_labels(model, data.train, len(data.train), 0)
    assert names is not None
    assert names.count("7") == int((data.train.labels == data.format.label_names.index("7")).sum())
    assert names[:50] == training_labels(model, data.train, 50, 0)
    assert training_labels(kernel_generator(data, 0.3, conditional=False), data.train, 50, 0) is None
    found = evaluate_generator(model, data, n=100, steps=4)
    assert found["FD"].value < 4 * found["FD"].floor


def test_too_few_items_are_said_and_not_a_crash():
    data = load(np.random.default_rng(0).normal(size=(12, 3)))
    found = evaluate_generator(kernel_generator(data, 0.1), data, n=30, steps=3)
    assert found.scores is None
    assert found.reached is None
    assert list(found) == []
    assert [m.name for m in found.missing] == ["distances, neighbours, copies and labels"] * 2
    assert "1 test items" in found.missing[1].reason
    assert set(found.losses) == {"train", "validation", "test"}
    with pytest.raises(KeyError):
        found["FD"]


def test_samples_that_cannot_be_scored_are_said(digits, monkeypatch):
    def refuse(*_, **__):
        raise UserError("all samples are NaN")

    monkeypatch.setattr("pushforward.report.evaluation.evaluate_samples", refuse)
    found = evaluate_generator(kernel_generator(digits, 0.2), digits, n=20, steps=2)
    assert found.missing[0].reason == "all samples are NaN"


@pytest.mark.parametrize(
    ("labels", "conditional", "reason"),
    [
        (None, True, "no labels"),
        (np.zeros(300, dtype=int), True, "a single label"),
        (np.arange(300) % 2, False, "without labels"),
    ],
)
def test_what_labels_cannot_tell_is_said(labels, conditional, reason):
    rows = np.random.default_rng(0).normal(size=(300, 2))
    data = load(rows if labels is None else (rows, labels), test=0.2)
    found = evaluate_generator(kernel_generator(data, 0.2, conditional), data, n=40, steps=3)
    assert found.scores is not None
    assert reason in found.missing[0].reason
    assert found.scores.features == "standardised2"


def test_the_file_is_plain_json_and_is_read_back(copied, tmp_path):
    path = copied.save(tmp_path / "evaluation.json")
    assert read_evaluation(path) == copied
    stored = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert stored["reached"] is False
    assert stored["scores"]["rows"][0]["name"].startswith("FD[")
    row = Row("MMD²[x]", 1.0, 1.0, "m", "low", 5, sd=math.nan)
    odd = GeneratorEvaluation(
        1, 1, 0, 1.0, Evaluation((row,), 1, 1, "x"), (), {"test": Loss(1.0, 0.1, 2)}, 1.0, 1.0, None
    )
    assert read_evaluation(odd.save(tmp_path / "odd.json"))["MMD²"].sd is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"n": 1}', '{"missing": [1]}'])
def test_a_file_that_is_no_evaluation_is_refused(content, tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(UserError, match="is not an evaluation"):
        read_evaluation(path)
    with pytest.raises(UserError, match="evaluate the run first"):
        read_evaluation(tmp_path / "none.json")


def test_large_splits_are_read_in_part(digits):
    values, labels = some_values(digits.train, 50)
    assert len(values) == len(labels) == 50
    rows = [np.flatnonzero((digits.train.values == v).all((1, 2)))[0] for v in values]
    assert (digits.train.labels[rows] == labels).all()
