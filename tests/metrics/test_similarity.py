"""Similarity of pictures against explicit sums, identification against counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pushforward.errors import UserError
from pushforward.metrics.identification import identify
from pushforward.metrics.similarity import (
    correlation,
    cross_correlation,
    fitting_window,
    gaussian_window,
    squared_error,
    structural_similarity,
    uniform_window,
)


def explicit_ssim(a, b, span, side):
    """The mean over every window that fits, each with its own sample mean, variance and covariance."""
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    found = []
    for i, j in itertools.product(range(a.shape[0] - side + 1), range(a.shape[1] - side + 1)):
        x, y = a[i : i + side, j : j + side].ravel(), b[i : i + side, j : j + side].ravel()
        both = np.cov(x, y)
        top = (2 * x.mean() * y.mean() + c1) * (2 * both[0, 1] + c2)
        found.append(top / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (both[0, 0] + both[1, 1] + c2)))
    return np.mean(found)


@pytest.mark.parametrize(("size", "side"), [((12, 9), 7), ((8, 8), 5)])
def test_ssim_is_the_mean_over_windows(size, side):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 255, (2, 3, 2, *size))
    found = structural_similarity(a, b, 255.0, uniform_window(side))
    expected = [
        np.mean([explicit_ssim(x, y, 255.0, side) for x, y in zip(p, q, strict=True)])
        for p, q in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(structural_similarity(a, a, 255.0, uniform_window(side)), 1.0)


def test_ssim_with_gaussian_weights():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(size=(2, 1, 1, 11, 11))
    weight = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    w = np.outer(weight, weight) / weight.sum() ** 2
    x, y = a[0, 0], b[0, 0]
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, c = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2, (w * x * y).sum() - mx * my
    c1, c2 = 1e-4, 9e-4
    expected = (2 * mx * my + c1) * (2 * c + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert structural_similarity(a, b, 1.0, gaussian_window())[0] == pytest.approx(expected, rel=1e-9)


def test_windows_fit_or_are_refused():
    assert fitting_window(28, 28).about == "7×7 uniform"
    assert fitting_window(6, 9).about == "5×5 uniform"
    with pytest.raises(UserError, match="does not fit"):
        structural_similarity(np.zeros((1, 1, 8, 8)), np.zeros((1, 1, 8, 8)), 1.0, gaussian_window())


def test_correlation_and_error():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 1, 3, 3))
    np.testing.assert_allclose(
        correlation(a, b), [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    )
    np.testing.assert_allclose(np.diag(cross_correlation(a, b)), correlation(a, b))
    assert correlation(np.ones((1, 4)), a[:1, 0, 0, :2].repeat(2, 1).reshape(1, 4))[0] == 0
    np.testing.assert_allclose(squared_error(2 * a, 2 * b, 2.0), np.square(a - b).mean((1, 2, 3)))


@pytest.mark.parametrize("ways", [2, 3, 5])
def test_identification_counts_every_choice_of_the_others(ways):
    likeness = np.random.default_rng(ways).normal(size=(7, 7)) + np.eye(7)
    hits = [
        all(likeness[i, i] > likeness[i, j] for j in others)
        for i in range(7)
        for others in itertools.combinations([j for j in range(7) if j != i], ways - 1)
    ]
    assert identify(likeness, ways, shuffles=10).share == pytest.approx(np.mean(hits))


def test_identification_at_chance_and_above_it():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 60))
    assert identify(noise).p_value > 0.05
    assert identify(np.zeros((60, 60))).share == 0.5
    sure = identify(noise + 4 * np.eye(60))
    assert sure.share > 0.95
    assert sure.p_value == pytest.approx(1 / 1001)
