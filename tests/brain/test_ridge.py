"""Ridge against its closed form, penalties against an explicit search, and folds that keep pictures together."""

from __future__ import annotations

import numpy as np
import pytest

from pushforward.brain import fit_ridge
from pushforward.errors import UserError


def explicit(x, y, penalty):
    """(XᵀX + λI)⁻¹XᵀY on standardised X, solved directly; λ in units of the mean eigenvalue."""
    mean, scale = x.mean(0), x.std(0)
    z = (x - mean) / scale
    unit = np.trace(z @ z.T) / min(z.shape)
    weights = np.linalg.solve(z.T @ z + penalty * unit * np.eye(x.shape[1]), z.T @ (y - y.mean(0)))
    return lambda new: (new - mean) / scale @ weights + y.mean(0)


@pytest.mark.parametrize("shape", [(30, 80), (80, 12)])
def test_predictions_are_those_of_the_closed_form(shape):
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(3, 2, size=shape), rng.normal(size=(shape[0], 3)), rng.normal(size=(5, shape[1]))
    found = fit_ridge(x, y, np.arange(shape[0]), penalties=[0.3])
    np.testing.assert_allclose(found(new), explicit(x, y, 0.3)(new), atol=1e-9)


def test_each_target_has_the_penalty_that_predicts_left_out_pictures_best():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 25))
    y = np.stack([x @ rng.normal(size=25) + 0.01 * rng.normal(size=60), rng.normal(size=60)], 1)
    grid, folds = (1e-4, 1e-2, 1.0, 1e2, 1e4), 5
    groups = np.arange(60)
    found = fit_ridge(x, y, groups, penalties=grid, folds=folds)
    errors = np.zeros((len(grid), 2))
    for g, penalty in enumerate(grid):
        for k in range(folds):
            out = groups % folds == k
            errors[g] += np.square(explicit(x[~out], y[~out], penalty)(x[out]) - y[out]).sum(0)
    np.testing.assert_array_equal(found.penalties, np.array(grid)[errors.argmin(0)])
    assert found.penalties[0] <= 1e-2  # a target that voxels tell exactly
    assert found.penalties[1] >= 1e2  # one that they tell nothing of
    assert found.explained[0] > 0.99
    assert found.explained[1] < 0.1


def test_what_is_said_of_held_out_trials_never_saw_their_picture():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 10)), rng.normal(size=(40, 2))
    groups = np.repeat(np.arange(10), 4)
    found = fit_ridge(x, y, groups, penalties=[0.1])
    changed = y.copy()
    changed[groups == 3] += 100.0
    again = fit_ridge(x, changed, groups, penalties=[0.1])
    np.testing.assert_allclose(again.held_out[groups == 3], found.held_out[groups == 3], atol=1e-9)
    assert np.abs(again.held_out[groups == 4] - found.held_out[groups == 4]).max() > 0.1


def test_a_constant_voxel_changes_nothing():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20, 6)), rng.normal(size=(20, 1))
    dead = np.concatenate([x, np.full((20, 1), 7.0)], 1)
    one, other = (fit_ridge(v, y, np.arange(20), penalties=[0.5]) for v in (x, dead))
    np.testing.assert_allclose(other.weights[:6] * 1.0, one.weights, rtol=1e-9)
    assert other.weights[6, 0] == 0.0


def test_it_refuses_too_few_pictures_and_other_voxels():
    x, y = np.zeros((4, 2)), np.zeros((4, 1))
    with pytest.raises(UserError, match="at least 3"):
        fit_ridge(x, y, np.array([0, 0, 1, 1]))
    found = fit_ridge(np.random.default_rng(0).normal(size=(6, 2)), np.arange(6.0)[:, None], np.arange(6))
    with pytest.raises(UserError, match="fitted on 2 voxels"):
        found(np.zeros((1, 3)))
