"""Metrics of a classifier's certainty against counts by hand and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pushforward.errors import UserError
from pushforward.metrics.certainty import (
    accuracy,
    auroc,
    class_nll,
    ece,
    paired_t_test,
    pavpu,
    reliability,
    two_leading,
)

RNG = np.random.default_rng(1)


def test_a_calibrated_classifier_has_no_calibration_error():
    p = RNG.dirichlet((1, 1, 1), size=20_000)
    classes = (RNG.random(20_000)[:, None] > p.cumsum(1)).sum(1)
    assert ece(p, classes) < 0.015
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    assert ece(sharp, classes) > 0.1
    assert class_nll(sharp, classes) > class_nll(p, classes)


def test_a_confidence_of_one_is_counted():
    p = np.array([[1.0, 0.0], [1.0, 0.0]])
    table = reliability(p, np.array([0, 1]))
    assert table[-1].tolist() == [2, 1, 0.5] and table[:-1, 0].sum() == 0
    assert ece(p, np.array([0, 1])) == 0.5
    assert accuracy(p, np.array([0, 1])) == 0.5


def test_the_paired_test_is_that_of_scipy():
    x = RNG.normal((0.3, 0.0, -1.0), size=(6, 40, 3))
    pairs = np.tile([0, 1], (6, 1))
    expected = stats.ttest_rel(x[:, :, 0], x[:, :, 1], axis=1).pvalue
    assert paired_t_test(x, pairs) == pytest.approx(expected)
    same, apart = np.zeros((1, 5, 2)), np.tile([1.0, 0.0], (1, 5, 1))
    assert paired_t_test(same, np.array([[0, 1]])).tolist() == [1.0]
    assert paired_t_test(apart, np.array([[0, 1]])).tolist() == [0.0]


def test_leading_classes_and_patches():
    assert two_leading(np.array([[3, 9, 1], [5, 5, 0]])).tolist() == [[1, 0], [0, 1]]
    assert pavpu(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1])) == 0.5


def test_the_area_under_the_curve_counts_pairs():
    scores, positive = RNG.integers(0, 5, 60), RNG.random(60) < 0.4
    above = np.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5
    assert auroc(scores, positive) == pytest.approx(above.mean())


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match="0 … 1"):
        ece(np.ones((2, 2)) / 2, np.array([0, 2]))
    with pytest.raises(UserError, match="of both kinds"):
        auroc(np.zeros(3), np.zeros(3))
    with pytest.raises(UserError, match="at least 2 samples"):
        paired_t_test(np.zeros((1, 1, 2)), np.array([[0, 1]]))
