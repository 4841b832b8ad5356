"""Distances against closed forms, scipy and hand-written sums."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from pushforward.errors import UserError
from pushforward.metrics.distances import energy_distance, frechet_between, frechet_distance, sliced_wasserstein
from pushforward.metrics.kernel import cubic_kernel, kernel_mmd2


def gaussian(seed, n, dim, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, dim)) * scale + shift


def test_frechet_of_commuting_gaussians_is_the_closed_form():
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 4.0, 1.0]).double()
    shift = torch.tensor([1.0, -2.0, 0.0]).double()
    found = frechet_between(torch.zeros(3).double(), a.diag(), shift, b.diag())
    assert found == pytest.approx(5 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2, abs=1e-9)


def test_frechet_equals_the_matrix_root_of_scipy():
    x, y = gaussian(0, 80, 5) @ gaussian(1, 5, 5), gaussian(2, 60, 5) @ gaussian(3, 5, 5) + 1
    cx, cy = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(cx + cy - 2 * linalg.sqrtm(cx @ cy).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-8)


def test_frechet_of_degenerate_covariances_is_finite_and_zero_on_itself():
    x = np.repeat(gaussian(0, 30, 1), 4, axis=1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x[:, :1], x[:, :1] + 3) == pytest.approx(9, abs=1e-9)


def test_mmd_is_the_sum_over_distinct_pairs():
    x, y = gaussian(0, 7, 3), gaussian(1, 5, 3)

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within_x = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    between = np.mean([k(a, b) for a in x for b in y])
    assert kernel_mmd2(x, y).value == pytest.approx(within_x + within_y - 2 * between, rel=1e-10)
    assert cubic_kernel(torch.from_numpy(x), torch.from_numpy(y))[2, 3] == pytest.approx(k(x[2], y[3]))


def test_mmd_is_unbiased_and_its_sd_covers_equal_laws():
    found = [kernel_mmd2(gaussian(2 * s, 100, 4), gaussian(2 * s + 1, 80, 4), repeats=60) for s in range(40)]
    values, sds = np.array([f.value for f in found]), np.array([f.sd for f in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert (np.abs(values) < 3 * sds).mean() >= 0.95
    assert values.std() < sds.mean() < 2.5 * values.std()  # conservative, by about √3, and no more


def test_mmd_bootstrap_sd_is_right_for_different_laws():
    found = [kernel_mmd2(gaussian(2 * s, 100, 4), gaussian(2 * s + 1, 80, 4, 1.3, 0.5), repeats=60) for s in range(40)]
    values, sds = np.array([f.value for f in found]), np.array([f.sd for f in found])
    assert 0.6 < sds.mean() / values.std() < 1.6
    many = kernel_mmd2(gaussian(900, 3000, 4), gaussian(901, 3000, 4, 1.3, 0.5), repeats=20)
    assert abs(values.mean() - many.value) < 3 * np.hypot(values.std() / np.sqrt(len(values)), many.sd)
    assert many.value > 5 * many.sd


def test_mmd_depends_on_its_seed_alone():
    x, y = gaussian(0, 20, 2), gaussian(1, 20, 2)
    assert kernel_mmd2(x, y, seed=3) == kernel_mmd2(x, y, seed=3)
    assert kernel_mmd2(x, y, seed=3).sd != kernel_mmd2(x, y, seed=4).sd


def test_mmd_of_two_items_each_still_answers():
    assert np.isfinite(kernel_mmd2(gaussian(0, 2, 2), gaussian(1, 2, 2)).value)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 1000))
def test_sliced_wasserstein_in_one_dimension_is_the_exact_distance(n, m, seed):
    x, y = gaussian(seed, n, 1), gaussian(seed + 1, m, 1)
    # Repeated to a common length, the quantile functions of both sets are plain sorted lists.
    a, b = np.sort(np.repeat(x, m)), np.sort(np.repeat(y, n))
    expected = np.sqrt(np.mean((a - b) ** 2))
    assert sliced_wasserstein(x, y, projections=3) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_sliced_wasserstein_of_a_shift_is_its_length_over_root_dim():
    x = gaussian(0, 500, 3)
    shift = np.array([3.0, 0.0, 4.0])
    assert sliced_wasserstein(x, x + shift, projections=4000) == pytest.approx(5 / np.sqrt(3), rel=0.03)
    assert sliced_wasserstein(x, x) == 0


def test_energy_distance_equals_scipy_in_one_dimension():
    x, y = gaussian(0, 40, 1), gaussian(1, 25, 1, 2.0, 0.5)
    expected = stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert energy_distance(x, x) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_mmd2, sliced_wasserstein, energy_distance])
def test_distances_take_images_tensors_and_unsigned_pixels(distance):
    pixels = np.random.default_rng(0).integers(0, 60000, size=(12, 1, 2, 3)).astype(np.uint16)
    other = np.random.default_rng(1).integers(0, 60000, size=(9, 1, 2, 3)).astype(np.uint16)
    as_floats = distance(torch.from_numpy(pixels.astype(np.float32)), torch.from_numpy(other.astype(np.float64)))
    assert distance(pixels, other) == pytest.approx(as_floats, rel=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "5 of 5 samples hold NaN"),
        (np.zeros((5, 2)), np.array([[0.0, 1], [np.inf, 2]]), "1 of 2 reference items.*item 1"),
        (np.zeros((1, 2)), np.zeros((5, 2)), "at least 2 samples, but was given 1"),
        (np.zeros((5, 3)), np.zeros((5, 2)), "have 3 values each but the reference items have 2"),
        (np.float64(3), np.zeros((5, 2)), "was given 0"),
    ],
)
def test_wrong_input_is_one_sentence(x, y, says):
    with pytest.raises(UserError, match=says) as caught:
        frechet_distance(x, y)
    assert "\n" not in str(caught.value)
