"""Metrics of predictive samples against closed forms, simulations and one another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pushforward.errors import UserError
from pushforward.metrics.coverage import (
    bin_shares,
    calibration_band,
    calibration_curve,
    interval,
    over_cells,
    picp,
    qice,
    qice_floor,
    widths,
)
from pushforward.metrics.predictive import KERNEL_OFFSET, crps, density_nll, gaussian_nll, kernel_nll, rmse

RNG = np.random.default_rng(0)


def test_crps_of_a_normal_is_its_closed_form():
    count = 4000
    drawn = 2 * stats.norm.ppf((np.arange(count) + 0.5) / count)
    y = np.array([-3.0, 0.0, 1.7])
    z = y / 2
    exact = 2 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert crps(y, np.broadcast_to(drawn, (3, count))) == pytest.approx(exact, abs=2e-3)


def test_crps_is_unbiased_and_equals_the_sum_over_pairs():
    x, y = RNG.normal(size=(5, 7)), RNG.normal(size=5)
    pairs = np.abs(x[:, :, None] - x[:, None]).sum((1, 2)) / (7 * 6)
    assert crps(y, x) == pytest.approx(np.abs(x - y[:, None]).mean(1) - pairs / 2)
    assert crps(y, x[:, :1]) == pytest.approx(np.abs(x[:, 0] - y))


@pytest.mark.parametrize("evenly", [False, True])
def test_crps_of_few_draws_is_that_of_many(evenly):
    """With the other divisor it is 10 % too small of 10 draws that are spread evenly, too large of others."""
    rng = np.random.default_rng(1)
    places = np.tile(np.arange(10), (20_000, 1)) + rng.uniform(size=(20_000, 10))
    x = stats.norm.ppf(places / 10) if evenly else rng.normal(size=(20_000, 10))
    assert crps(rng.normal(size=20_000), x, evenly).mean() == pytest.approx(1 / np.sqrt(np.pi), rel=0.02)


def test_the_kernel_estimate_is_too_large_by_its_offset():
    y, x = 3 * RNG.normal(size=4000), 3 * RNG.normal(size=(4000, 400))
    entropy = 0.5 * np.log(2 * np.pi * np.e * 9)
    assert pytest.approx(0.0966, abs=5e-5) == KERNEL_OFFSET
    assert kernel_nll(y, x).mean() - entropy == pytest.approx(KERNEL_OFFSET, abs=0.02)
    assert gaussian_nll(y, np.zeros(4000), 3.0).mean() == pytest.approx(entropy, abs=0.04)


def test_the_density_of_draws_is_that_of_their_law():
    """Where the kernel of the draws' own deviation is 0.10 nats off for a Gaussian, and 1.0 between two modes."""
    rng = np.random.default_rng(2)
    y, x = 3 * rng.normal(size=2000), 3 * rng.normal(size=(2000, 400))
    assert np.mean(density_nll(y, x, 10) - gaussian_nll(y, np.zeros(2000), 3.0)) == pytest.approx(0, abs=0.02)
    side = rng.choice([-1, 1], (2000, 401)) * 3 + 0.3 * rng.normal(size=(2000, 401))
    entropy = np.log(2) + 0.5 * np.log(2 * np.pi * np.e * 0.09)
    assert density_nll(side[:, 0], side[:, 1:], 10).mean() == pytest.approx(entropy, abs=0.05)
    assert kernel_nll(side[:, 0], side[:, 1:]).mean() > entropy + 0.8
    t = stats.t(3)
    y, x = t.rvs(2000, random_state=rng), t.rvs((2000, 400), random_state=rng)
    assert np.mean(density_nll(y, x, 10) + t.logpdf(y)) == pytest.approx(0, abs=0.05)
    assert density_nll(np.array([1e4]), x[:1])[0] < 60  # a law of long tails is not ruled out by its draws


def test_the_density_of_draws_does_not_reward_a_law_too_narrow():
    """Which the kernel of the draws' own deviation does: it is least at 1/√2 of the true one."""
    rng = np.random.default_rng(3)
    y, x = rng.normal(size=2000), rng.normal(size=(2000, 400))
    assert kernel_nll(y, x / 2**0.5).mean() < kernel_nll(y, x).mean() - 0.06
    assert density_nll(y, x / 2**0.5, 10).mean() > density_nll(y, x, 10).mean() + 0.1


def test_the_density_of_draws_needs_draws_that_differ():
    with pytest.raises(UserError, match="three per row"):
        density_nll(np.zeros(1), np.zeros((1, 5)))


def test_the_kernel_estimate_far_away_does_not_underflow():
    assert np.isfinite(kernel_nll(np.array([1e3]), RNG.normal(size=(1, 50)))).all()


def test_a_perfect_predictor_scores_the_floor_of_qice():
    rows, scores = 77, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores.append(qice(rng.normal(size=rows), rng.normal(size=(rows, 500))))
    error = np.std(scores) / np.sqrt(len(scores))
    assert np.mean(scores) == pytest.approx(qice_floor(rows), abs=4 * error)
    assert qice_floor(77) == pytest.approx(0.0273, abs=2e-4)


def test_truths_that_were_rounded_are_calibrated_where_they_may_have_been():
    rng = np.random.default_rng(3)
    mean = rng.normal(size=3000)
    y = np.round(mean + 0.3 * rng.normal(size=3000))  # in steps of 1, and told to 0.3
    latent = mean[:, None] + 0.3 * rng.normal(size=(3000, 400))
    drawn = np.round(latent) + rng.uniform(-0.5, 0.5, size=latent.shape)  # the exact law, spread over the cells
    assert qice(y, drawn) > 3 * qice_floor(3000)
    assert qice(over_cells(y, 1.0), drawn) < 1.5 * qice_floor(3000)
    two = np.stack((y, mean), 1)
    moved = over_cells(two, np.array([1.0, 0.0]))
    assert np.array_equal(moved[:, 1], mean) and 0.45 < abs(moved[:, 0] - y).max() <= 0.5
    assert np.array_equal(over_cells(y[:10], 1.0), over_cells(y, 1.0)[:10])


def test_qice_sees_wide_and_shifted_predictions():
    y, x = RNG.normal(size=2000), RNG.normal(size=(2000, 300))
    assert qice(y, x) < 0.01
    assert qice(y, 2 * x) > 0.04
    assert qice(y, x + 1) > 0.04
    assert bin_shares(y, x).sum() == pytest.approx(1)
    assert qice(np.full(5, 9.0), np.tile(np.arange(5.0), (5, 1)), bins=2) == pytest.approx(0.5)


@pytest.mark.parametrize("evenly", [False, True])
def test_intervals_of_few_draws_cover_what_they_promise(evenly):
    """By the straight ranks (S − 1) q they cover some 3 % less."""
    rng = np.random.default_rng(4)
    places = np.tile(np.arange(30), (20_000, 1)) + rng.uniform(size=(20_000, 30))
    x = stats.norm.ppf(places / 30) if evenly else rng.normal(size=(20_000, 30))
    low, high = np.quantile(x, [0.05, 0.95], axis=1)
    y = rng.normal(size=20_000)
    assert picp(y, x, 0.9, evenly) == pytest.approx(0.9, abs=0.012)
    assert np.mean((low <= y) & (y <= high)) < 0.88


def test_intervals_cover_what_they_promise():
    y, x = RNG.normal(size=5000), RNG.normal(size=(5000, 400))
    assert picp(y, x, 0.9) == pytest.approx(0.9, abs=0.015)
    assert widths(x, 0.9).mean() == pytest.approx(2 * stats.norm.ppf(0.95), rel=0.02)
    assert interval(x, 0.9).shape == (5000, 2)
    levels = (0.1, 0.5, 0.9)
    assert np.abs(calibration_curve(y, x, levels) - levels).max() < 2 * calibration_band(5000, levels).max()


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match=r"predictive samples are \(N, S\)"):
        crps(np.zeros(3), np.zeros((4, 2)))
    with pytest.raises(UserError, match="finite"):
        qice(np.array([np.nan]), np.zeros((1, 4)))
    with pytest.raises(UserError, match="all samples of row 0 are the same"):
        kernel_nll(np.zeros(1), np.zeros((1, 4)))
    with pytest.raises(UserError, match="between 0 and 1"):
        picp(np.zeros(1), np.zeros((1, 4)), 95)
    with pytest.raises(UserError, match="shape"):
        rmse(np.zeros(3), np.zeros((3, 1)))
