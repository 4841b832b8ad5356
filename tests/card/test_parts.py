"""What CARD is made of: trees and perceptrons as tensors, folds, draws, classes, conformal quantiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from pushforward.card.classes import (
    fit_temperature,
    mean_width,
    nearest_corner,
    probabilities,
    published_rule,
    votes,
)
from pushforward.card.conformal import conformal_quantile, interval_scores
from pushforward.card.draws import check_levels, quantiles, sample_draws, spread_normals
from pushforward.card.folds import folds_of, row_numbers
from pushforward.card.learners import Boosted, Perceptrons
from pushforward.card.means import Stacked
from pushforward.card.published import PublishedMean
from pushforward.errors import UserError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
Y = np.stack((X[:, 0] ** 2 + 0.1 * X[:, 1], np.sin(2 * X[:, 2])), 1)
K3 = np.eye(3)[(X[:, 0] > 0.4).astype(int) + (X[:, 0] > -0.5)]


def tensor(x):
    return torch.from_numpy(np.asarray(x, np.float32))


def test_trees_are_those_of_scikit_learn():
    learner = Boosted(trees=30, leaves=8)
    module = learner.hollow(3, 2)
    rows = X.astype(np.float32).astype(np.float64)
    learner.fit(module, rows, Y, False, 0)
    for k in range(2):
        truth = HistGradientBoostingRegressor(
            max_iter=30, max_leaf_nodes=8, learning_rate=learner.rate, min_samples_leaf=3, l2_regularization=1.0,
            early_stopping=False, random_state=0,
        ).fit(rows, Y[:, k])  # fmt: skip
        assert module(tensor(rows))[:, k].numpy() == pytest.approx(truth.predict(rows), abs=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_are_those_of_scikit_learn(classes):
    y = K3 if classes == 3 else np.eye(2)[(X[:, 0] > 0).astype(int)]
    rows = X.astype(np.float32).astype(np.float64)
    trees = Boosted(trees=20, leaves=4)
    module = trees.hollow(3, classes)
    trees.fit(module, rows, y, True, 0)
    truth = HistGradientBoostingClassifier(
        max_iter=10, max_leaf_nodes=4, learning_rate=trees.rate, min_samples_leaf=3, l2_regularization=1.0,
        early_stopping=False, random_state=0,
    ).fit(rows, y.argmax(1))  # fmt: skip
    assert torch.softmax(module(tensor(rows)), 1).numpy() == pytest.approx(truth.predict_proba(rows), abs=1e-5)
    layers = Perceptrons((5,), smooth=True, epochs=20)
    net = layers.hollow(3, classes)
    layers.fit(net, rows, y, True, 3)
    own = MLPClassifier(
        hidden_layer_sizes=(5,), activation="tanh", solver="lbfgs", alpha=1e-2, max_iter=20, random_state=3
    )
    with pytest.warns():
        own.fit(rows, y.argmax(1))
    assert torch.softmax(net(tensor(rows)), 1).numpy() == pytest.approx(own.predict_proba(rows), abs=1e-4)


def test_a_perceptron_is_that_of_scikit_learn():
    learner = Perceptrons((6, 4), epochs=5)
    net = learner.hollow(3, 2)
    learner.fit(net, X, Y, False, 1)
    own = MLPRegressor(
        hidden_layer_sizes=(6, 4),
        alpha=1e-2,
        batch_size=32,
        max_iter=5,
        early_stopping=True,
        n_iter_no_change=25,
        random_state=1,
    )
    with pytest.warns():
        own.fit(X, Y)
    assert net(tensor(X)).numpy() == pytest.approx(own.predict(X), abs=1e-4)


def test_a_class_that_a_fold_lacks_is_improbable_there():
    learner, y = Boosted(trees=6, leaves=4), np.eye(3)[(X[:, 0] > 0).astype(int)]
    module = learner.hollow(3, 3)
    learner.fit(module, X, y, True, 0)
    assert torch.softmax(module(tensor(X)), 1)[:, 2].max() < 1e-3


def test_a_class_of_one_row_is_learned_among_many():
    rows = RNG.normal(size=(210, 2))
    y = np.eye(2)[(np.arange(210) == 5).astype(int)]
    learner = Perceptrons((4,), epochs=2)
    net = learner.hollow(2, 2)
    learner.fit(net, rows, y, True, 0)
    assert bool(torch.isfinite(net(tensor(rows))).all()) and bool(net.weight0.any())


def test_out_of_fold_predictions_come_from_parts_that_have_not_seen_their_row():
    noise = RNG.normal(size=(120, 1))  # nothing can be learned: parts that saw a row remember it
    mean = Stacked(3, 1, False, [Boosted(trees=60, leaves=16)], folds=4)
    mean.fit(tensor(X), tensor(noise))
    mean.weights.fill_(1.0)
    unseen = mean.out_of_fold(tensor(X), tensor(noise)).numpy()
    seen = mean(tensor(X)).numpy()
    assert np.corrcoef(seen[:, 0], noise[:, 0])[0, 1] > 0.7
    assert abs(np.corrcoef(unseen[:, 0], noise[:, 0])[0, 1]) < 0.3
    fold = folds_of(tensor(X), tensor(noise), 4)
    for k in range(4):  # to the last bit, asked of the same rows together
        assert torch.equal(mean._read(0, k, tensor(X)[fold == k]), torch.from_numpy(unseen)[fold == k])


def test_rows_that_take_few_values_are_in_every_fold():
    level = RNG.integers(0, 4, 200)
    x, means = np.eye(4)[level], np.array([-2.0, 1.0, 3.0, 0.0])
    y = tensor((means[level] + 0.1 * RNG.normal(size=200))[:, None])
    mean = Stacked(4, 1, False, [Boosted(trees=60, leaves=8)], folds=5)
    mean.fit(tensor(x), y)
    assert mean.out_of_fold(tensor(x), y)[:, 0].numpy() == pytest.approx(means[level], abs=0.3)
    assert mean(tensor(x))[:, 0].numpy() == pytest.approx(means[level], abs=0.3)


def test_weights_prefer_what_predicts_better():
    mean = Stacked(3, 1, False, [Boosted(trees=1, leaves=2), Perceptrons((16,), smooth=True, epochs=100)], folds=3)
    mean.fit(tensor(X), tensor(X[:, :1] * 2))
    assert mean.weights[1] > 0.8 > mean.weights[0]


def test_rows_have_numbers_of_their_own():
    x = tensor(X)
    assert len(set(row_numbers(x).tolist())) == 120
    assert torch.equal(row_numbers(x[[7, 3]]), row_numbers(x)[[7, 3]])
    assert torch.equal(row_numbers(torch.zeros(1, 2)), row_numbers(-torch.zeros(1, 2)))
    for rows in (torch.arange(5000.0)[:, None], torch.zeros(5000, 1)):
        counts = torch.bincount(folds_of(rows, torch.zeros(5000, 1), 5))
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    assert torch.equal(folds_of(x[order], x[order], 5), folds_of(x, x, 5)[order])


def test_noise_of_a_row_is_the_same_alone_and_spread_over_its_law():
    x = tensor(X[:4])
    draws = sample_draws(x, 50, 1)
    z = spread_normals(draws, 50, 2).reshape(4, 50, 2)
    assert torch.equal(spread_normals(sample_draws(x[2:3], 50, 1), 50, 2), z[2])
    layers = (torch.special.ndtr(z.double()) * 50).floor().long().sort(1).values
    assert torch.equal(layers, torch.arange(50)[None, :, None].expand(4, 50, 2))
    many = spread_normals(sample_draws(tensor(RNG.normal(size=(2000, 1))), 4, 0), 4, 1)
    assert stats.kstest(many[:, 0].numpy(), "norm").pvalue > 1e-3
    assert abs(float(z[:, :, 0].mean())) < 5e-3


@pytest.mark.parametrize(("evenly", "count"), [(True, 30), (False, 39)])
def test_a_further_draw_falls_below_a_quantile_with_its_probability(evenly, count):
    """Of few draws, where with the usual rank (S − 1) q + 1 a central 90 % covers 87 % (evenly) or 85.5 %."""
    rows = tensor(RNG.normal(size=(4000, 1)))
    draws = sample_draws(rows, count, 2)
    z = (spread_normals(draws, count, 1) if evenly else draws.at("prior").normal((1,))).reshape(4000, count, 1)
    levels = (0.05, 0.5, 0.95)
    below = torch.special.ndtr(quantiles(z, levels, evenly))[:, :, 0].mean(0)
    assert below.numpy() == pytest.approx(levels, abs=0.004)
    with pytest.raises(UserError, match=r"0\.99 needs at least 50 draws"):
        check_levels((0.5, 0.99), count)


def test_more_of_a_class_never_decides_for_another():
    over = torch.tensor([[[2.0, 0.9]]])
    assert published_rule(over, 1.0).argmax() == 1  # the published rule scores 2 like 0
    assert nearest_corner(over, 1.0).argmax() == 0
    assert votes(over.expand(1, 5, 2)).tolist() == [[5, 0]]
    assert probabilities(over, 0.5).sum() == pytest.approx(1)


def test_the_temperature_makes_held_out_classes_most_likely():
    w = tensor(RNG.dirichlet((2, 2, 2), size=400))
    classes = torch.multinomial(w, 1, generator=torch.Generator().manual_seed(0))[:, 0]
    drawn = torch.nn.functional.one_hot(torch.multinomial(w, 60, True, generator=torch.Generator().manual_seed(1)), 3)
    exact = drawn.float()

    def loss(t):
        return float(-probabilities(exact, t)[torch.arange(400), classes].log().mean())

    found = fit_temperature(exact, classes)
    assert loss(found) <= min(loss(t) for t in (0.05, 0.2, 0.5, 1.0, 3.0)) + 1e-4
    assert loss(found) < loss(1.0) - 0.01


def test_a_few_rows_told_rightly_ask_for_no_certainty():
    classes = torch.arange(20) % 2
    drawn = torch.nn.functional.one_hot(classes, 2)[:, None].expand(20, 30, 2) + 0.05 * tensor(
        np.random.default_rng(5).normal(size=(20, 30, 2))
    )
    wrong = 1 - probabilities(drawn, fit_temperature(drawn, classes))[torch.arange(20), classes]
    assert 1e-3 < float(wrong.mean()) < 0.1


def test_the_mean_width_is_that_of_the_intervals_of_all_coverages():
    p = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [1.0, 0.0, 0.0]])
    coverage = (np.arange(2000) + 0.5) / 2000
    corners = np.eye(3)[np.repeat(np.arange(3), 3000)].reshape(3, 3000, 3)
    for row, found in zip(p, mean_width(p), strict=True):
        draws = np.concatenate([corners[k, : round(3000 * row[k])] for k in range(3)])
        ends = np.quantile(draws, np.stack(((1 - coverage) / 2, (1 + coverage) / 2)), axis=0, method="inverted_cdf")
        assert (coverage[:, None] * (ends[1] - ends[0])).mean(0).sum() / 2 == pytest.approx(found, abs=2e-3)
    rest = np.float32([[1e-7], [2e-7], [4e-7]])  # of rows that are nearly certain, told apart and in order
    assert mean_width(np.hstack((1 - rest, rest)).astype(float)) == pytest.approx(2 * rest[:, 0], rel=0.2)


def test_conformal_quantiles_cover_in_expectation():
    covered = []
    for seed in range(400):
        scores = np.random.default_rng(seed).normal(size=20)
        covered.append(scores[-1] <= conformal_quantile(scores[:-1], 0.9))
    assert np.mean(covered) >= 0.9 - 3 * np.sqrt(0.09 / 400)
    assert interval_scores(np.array([0.0, 5.0]), np.array([-1.0, 0.0]), np.array([2.0, 3.0])).tolist() == [-1, 2]
    with pytest.raises(UserError, match="needs at least 9 rows"):
        conformal_quantile(np.zeros(5), 0.9)


def test_the_published_regression_learns_and_keeps_its_dropout_while_training():
    mean = PublishedMean(3, 1, False, hidden=(32,), dropout=0.1, epochs=60, patience=20)
    x, y = tensor(X), tensor(X[:, :1] - X[:, 1:2])
    mean.fit(x, y)
    assert float((mean.eval()(x) - y).square().mean()) < 0.1
    assert not list(mean.parameters()) and mean.live
    mean.train()
    with pytest.raises(UserError, match="counted draws"):
        mean(x)
