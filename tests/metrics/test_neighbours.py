"""Neighbour metrics against scikit-learn and direct definitions."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from pushforward.errors import UserError
from pushforward.metrics import neighbours
from pushforward.metrics.neighbours import density_coverage, near_copies, nearest, precision_recall


def points(seed, n, dim=3, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, dim)) + shift


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(neighbours, "_ENTRIES", 100)


def test_nearest_equals_scikit_learn(small_chunks):
    x, train = points(0, 50), points(1, 70)
    distances, items = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(train).kneighbors(x)
    found = nearest(x, train, 4)
    assert np.allclose(found.distances, distances)
    assert np.array_equal(found.items, items)


def test_a_copy_is_at_distance_exactly_zero():
    train = points(0, 200, 64) * 1000 + 5000
    found = nearest(train[:30], train)
    assert (found.distances == 0).all()
    assert np.array_equal(found.items[:, 0], np.arange(30))


def by_definition(samples, real, k):
    """Kynkäänniemi et al. and Naeem et al., written out."""
    radius_real = np.sort(cdist(real, real), 1)[:, k]
    radius_fake = np.sort(cdist(samples, samples), 1)[:, k]
    between = cdist(samples, real)
    inside = between <= radius_real
    precision, recall = inside.any(1).mean(), (between <= radius_fake[:, None]).any(0).mean()
    return precision, recall, inside.sum(1).mean() / k, (between.min(0) <= radius_real).mean()


@pytest.mark.parametrize("shift", [0.0, 1.0, 10.0])
def test_precision_recall_density_coverage_follow_their_definitions(shift, small_chunks):
    samples, real = points(0, 40, shift=shift), points(1, 60)
    found = (*precision_recall(samples, real, k=3), *density_coverage(samples, real, k=3))
    assert found == pytest.approx(by_definition(samples, real, 3))


def test_collapse_keeps_precision_and_loses_coverage():
    real = points(0, 300, 2)
    collapsed = points(1, 300, 2) * 0.05
    assert precision_recall(collapsed, real).precision > 0.95
    assert precision_recall(collapsed, real).recall < 0.2
    assert density_coverage(collapsed, real).coverage < 0.2
    assert density_coverage(points(2, 300, 2), real).coverage > 0.9


def test_near_copies_is_the_quantile_for_fresh_data_and_one_for_copies():
    train, test = points(0, 400), points(1, 400)
    assert near_copies(test, train, test) == pytest.approx(0.05, abs=1e-9)
    assert 0.02 < near_copies(points(2, 2000), train, test) < 0.09
    assert near_copies(train[:100], train, test) == 1
    assert near_copies(points(3, 100, shift=20), train, test) == 0


def test_copies_are_seen_where_the_data_repeat_items():
    train = np.round(points(0, 400, 2))
    test = np.round(points(1, 400, 2))
    assert near_copies(train, train, test) == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nearest(points(0, 3), points(1, 3), 4), "4 nearest of 3"),
        (lambda: precision_recall(points(0, 5), points(1, 50)), "more than 5 items, but were given 5"),
        (lambda: nearest(points(0, 3), points(1, 3, 2)), "training items have 2"),
    ],
)
def test_wrong_input_is_one_sentence(call, says):
    with pytest.raises(UserError, match=says):
        call()
