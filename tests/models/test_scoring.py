"""Scores in the user's units of exact denoisers: closed forms and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pushforward.data.columns import Columns
from pushforward.data.format import Format
from pushforward.data.pixels import Layout, Pixels
from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.denoisers.terminal import Moments
from pushforward.errors import UserError
from pushforward.models.scoring import ByFlow, Units, moments_of, score_rows, solver_of
from pushforward.paths import CLEAN, EDM


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


MIXTURE = Mixture.of_covariances(double(0.4, 0.6), double(0.8, -0.5, -0.7, 0.9).reshape(2, 2), double(0.16, 0.09))
ORACLE = MixtureDenoiser(MIXTURE, EDM())
MOMENTS = Moments.of(MIXTURE.mean(), MIXTURE.covariance())
REAL = ("float64", "float64")


def table(dtypes, scale=(2.0, 0.5)):
    """Columns v = offset + scale·x."""
    return Format(
        Columns(
            ("a", "b"), dtypes, "float64", (10.0, -1.0), scale, (0.0, -3.0), (20.0, 1.0), (None, None), (None, None)
        )
    )


def score(form, moments, x, evaluations=100, probes=None, **options):
    return score_rows(ByFlow(ORACLE, moments, evaluations, probes), form, moments, x, **options)


X = double(0.6, -0.3, -0.9, 1.1, 0.0, 0.2).reshape(3, 2)


def test_real_columns_have_the_density_in_their_own_unit():
    scores = score(table(REAL), MOMENTS, X)
    exact = ORACLE.log_prob(X, CLEAN) - math.log(2.0 * 0.5)
    assert scores.nats == pytest.approx(exact.numpy(), abs=1e-3)
    assert scores.bits_per_dim is None and np.all(scores.standard_error == 0)
    other = score(table(REAL, (20.0, 0.5)), MOMENTS, X)  # tenths of the unit: a tenth of the density
    assert other.nats == pytest.approx(scores.nats - math.log(10))
    assert scores.uniform == pytest.approx(-math.log(20 * 4))
    assert scores.method == "exact divergence"


def test_counted_columns_have_probabilities_of_their_cells():
    form = table(("int64", "float64"), scale=(4.0, 1.0))
    scores = score(form, MOMENTS, X, repeats=16)
    cell = (torch.arange(2001, dtype=torch.float64) / 2000 - 0.5) / 4
    for i, x in enumerate(X):
        moved = torch.stack((x[0] + cell, x[1].expand(2001)), 1)
        exact = float(ORACLE.log_prob(moved, CLEAN).mean()) - math.log(4.0)
        assert scores.nats[i] == pytest.approx(exact, abs=5 * scores.standard_error[i] + 1e-3)
    assert scores.uniform == pytest.approx(-math.log(21 * 4))  # 21 whole numbers
    assert "16 uniform dequantisations" in scores.method


def test_images_have_bits_per_dimension():
    form = Format(Pixels((1, 1, 2), Layout.PLANE, "uint8", 0, 15, True))
    moments = Moments.of(MOMENTS.mean.reshape(1, 1, 2), MIXTURE.covariance().diagonal().reshape(1, 1, 2))
    scores = score(form, moments, X.reshape(3, 1, 1, 2), probes=8)
    assert scores.bits_per_dim == pytest.approx(-scores.nats / (2 * math.log(2)))
    assert scores.bits(scores.uniform) == pytest.approx(4.0)
    assert Units.of(form).log_jacobian == pytest.approx(-2 * math.log(7.5))
    assert np.isfinite(scores.standard_error).all()
    one = score(form, moments, X.reshape(3, 1, 1, 2), probes=8, repeats=1)
    assert np.isnan(one.standard_error).all()  # one place in the cell cannot tell


def test_an_item_alone_has_the_same_score():
    form = table(("int64", "float64"))
    together = score(form, MOMENTS, X, probes=2, batch_size=2)
    alone = score(form, MOMENTS, X[:1], probes=2)
    assert alone.nats[0] == pytest.approx(together.nats[0], abs=1e-9)
    assert together.error > 0 and math.isnan(alone.error)
    assert len(together) == 3 and together.mean == pytest.approx(together.nats.mean())


def test_the_gaussian_baseline_is_the_density_of_its_moments():
    form = table(REAL)
    found = score(form, MOMENTS, X)
    normal = torch.distributions.MultivariateNormal(MIXTURE.mean(), MIXTURE.covariance())
    assert found.gaussian == pytest.approx(float(normal.log_prob(X).mean()), abs=1e-9)


def test_moments_are_full_where_there_are_items_enough_and_have_the_width_of_cells():
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).repeat(40, 1)
    units = Units.of(table(("int64", "int64")))
    full = moments_of(x, units)
    wanted = [20 / 79 + 0.25 / 12, 4 / 12]  # of the values, and of cells of half a unit and of two
    assert full.axes is not None and full.variances.tolist() == pytest.approx(wanted, rel=1e-4)
    assert moments_of(x[:4], units).axes is None
    assert moments_of(x, Units.of(table(REAL))).variances.min() > 0  # a constant column has no width of its own


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"evaluations": 3}, "at least 4 evaluations"),
        ({"probes": 0}, "probes must be at least 1"),
        ({"repeats": 0}, "repeats and batch size"),
        ({"batch_size": 0}, "repeats and batch size"),
    ],
)
def test_counts_below_one_are_refused(options, says):
    with pytest.raises(UserError, match=says):
        score(table(REAL), MOMENTS, X, **options)


def test_the_solver_spends_its_evaluations():
    found = score(table(REAL), MOMENTS, X, evaluations=37)
    assert found.evaluations == 37 and solver_of(37).evaluations == 36
    assert int(np.isfinite(found.nats).sum()) == 3
