"""The posterior of a mixture in closed form, against quadrature, Bayes' rule by hand, and two routes to one score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import (
    Clip,
    Covariance,
    Exact,
    Fourier,
    Gaussian,
    Guidance,
    Laplace,
    Mask,
    Matrix,
    RealAsComplex,
    condition,
    log_evidence,
    posterior_samples,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, Straight

F64 = torch.float64
SHAPE = (1, 2, 3)


def mixture(parts: int = 3, dim: int = 6) -> Mixture:
    draws = Draws.of(0, range(parts), "mixture")
    roots = draws.at("root").normal((dim, dim), F64) / 3
    weights = torch.arange(1, parts + 1, dtype=F64)
    return Mixture.of_covariances(
        weights, draws.at("mean").normal((dim,), F64), roots @ roots.mT + 0.02 * torch.eye(dim)
    )


MASK = Mask(torch.tensor([[1, 0, 1], [0, 1, 1]]))
OPERATORS = {
    "mask": MASK,
    "matrix": Matrix(Draws.of(1, [0]).normal((4, 6), F64)[0], SHAPE),
    "complex": Fourier() @ RealAsComplex(),
}


def seen(operator, sigma=0.2, batch: int = 4) -> Gaussian:
    draws = Draws.of(2, range(batch), "seen")
    return Gaussian.measure(operator, mixture().sample(draws).reshape(-1, *SHAPE), sigma, draws)


def test_one_number_seen_of_two_against_quadrature():
    """p(x_1 | y) and p(y) by sums over a fine grid."""
    weights = torch.tensor([0.3, 0.7], dtype=F64)
    means = torch.tensor([[-1.0, 0.5], [1.0, -0.2]], dtype=F64)
    covariances = torch.tensor([[[0.3, 0.2], [0.2, 0.4]], [[0.2, -0.1], [-0.1, 0.1]]], dtype=F64)
    prior = Mixture.of_covariances(weights, means, covariances)
    measured = Gaussian(Matrix(torch.tensor([[1.0, 1.0]], dtype=F64)), torch.tensor([[0.4]], dtype=F64), 0.3)
    grid = np.linspace(-6, 6, 801)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    density = np.zeros(len(points))
    for w, m, c in zip(weights.numpy(), means.numpy(), covariances.numpy(), strict=True):
        away = points - m
        form = np.einsum("ni,ij,nj->n", away, np.linalg.inv(c), away)
        density += w * np.exp(-0.5 * form) / (2 * np.pi * np.sqrt(np.linalg.det(c)))
    joint = density * np.exp(-0.5 * ((0.4 - points.sum(1)) / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
    area = (grid[1] - grid[0]) ** 2
    [found] = condition(prior, measured)
    mean = joint @ points / joint.sum()
    second = np.einsum("n,ni,nj->ij", joint, points, points) / joint.sum()
    assert np.allclose(found.mean().numpy(), mean, atol=1e-8)
    assert np.allclose(found.covariance().numpy(), second - np.outer(mean, mean), atol=1e-8)
    assert float(log_evidence(prior, measured)) == pytest.approx(math.log(joint.sum() * area), abs=1e-8)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("path", [EDM(), VP(), Straight()], ids=lambda p: type(p).__name__)
def test_conditioning_and_noise_commute(name, path):
    """The denoiser of the posterior mixture is the rule's: y before x_t, or x_t before y."""
    likelihood = seen(OPERATORS[name])
    rule = Exact()(MixtureDenoiser(mixture(), path), likelihood)
    posteriors = condition(mixture(), likelihood, SHAPE)
    for level in path.levels([0.02, 0.3, 0.9]):
        x = path.mix(Draws.of(3, range(4)).normal(SHAPE, F64), Draws.of(4, range(4)).normal(SHAPE, F64), level)
        found = rule(x, level)
        for i, posterior in enumerate(posteriors):
            expected = MixtureDenoiser(posterior, path)(x[i : i + 1], level)
            assert torch.allclose(found.mean[i], expected.mean[0], rtol=0, atol=1e-9)
            assert found.var is not None
            assert torch.allclose(found.var[i], expected.var[0], rtol=0, atol=1e-9)


def test_noise_operators_and_levels_of_each_item():
    sigma = torch.tensor([0.1, 0.5, 1.0, 0.2], dtype=F64)
    masks = torch.stack([MASK.mask.reshape(1, 2, 3), *(torch.eye(6)[i].reshape(1, 2, 3).bool() for i in range(3))])
    likelihood = seen(Mask(masks), sigma)
    path, t = VP(), torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=F64)
    x = Draws.of(3, range(4)).normal(SHAPE, F64)
    together = Exact()(MixtureDenoiser(mixture(), path), likelihood)
    for i in range(4):
        alone = Gaussian(Mask(masks[i, 0]), likelihood.y[i : i + 1], float(sigma[i]))
        expected = MixtureDenoiser(condition(mixture(), alone, SHAPE)[0], path)(x[i : i + 1], float(t[i])).mean
        assert torch.allclose(together(x, t).mean[i : i + 1], expected, rtol=0, atol=1e-9)
        one = torch.tensor([i])
        assert torch.allclose(together.rows(one)(x[one], t[one]).mean, expected, rtol=0, atol=1e-9)


def test_a_measurement_without_noise_is_met_and_the_rest_is_conditioned():
    likelihood = seen(MASK, 0.0)
    for posterior, y in zip(condition(mixture(), likelihood, SHAPE), likelihood.y, strict=True):
        kept = MASK.mask.flatten()
        assert torch.allclose(posterior.mean()[kept], y.flatten()[kept], rtol=0, atol=1e-9)
        assert float(posterior.covariance().diagonal()[kept].max()) < 1e-9
        assert float(posterior.covariance().diagonal()[~kept].min()) > 1e-3


def test_correlated_noise():
    """Noise n with covariance Σ is one measurement of white noise after L⁻¹."""
    operator = OPERATORS["matrix"]
    covariance = torch.diag(torch.linspace(0.1, 0.5, 4, dtype=F64)) + 0.05
    y = seen(operator).y
    [first, *_] = condition(mixture(), Gaussian.correlated(operator, y, Covariance.of_matrix(covariance)), SHAPE)
    root = torch.linalg.cholesky(covariance)
    white = Gaussian(Matrix(torch.linalg.solve(root, operator.matrix), SHAPE), torch.linalg.solve(root, y.T).T, 1.0)
    [expected, *_] = condition(mixture(), white, SHAPE)
    assert torch.allclose(first.mean(), expected.mean(), rtol=0, atol=1e-10)


def test_samples_of_the_exact_score_are_those_of_the_posterior():
    likelihood = seen(OPERATORS["matrix"], 0.3, batch=2)
    prior = MixtureDenoiser(mixture(), EDM(sigma_max=20.0))
    drawn = posterior_samples(
        Guidance(Exact()), prior, likelihood, SHAPE, items=2, samples=1500, evaluations=40, dtype=F64
    ).flatten(2)
    for i, posterior in enumerate(condition(mixture(), likelihood, SHAPE)):
        spread = posterior.covariance().diagonal().sqrt()
        assert float(((drawn[:, i].mean(0) - posterior.mean()) / spread).abs().max()) < 5 / 1500**0.5
        assert float(drawn[:, i].var(0).sum()) == pytest.approx(float(posterior.covariance().trace()), rel=0.1)


def test_what_is_no_mixture_or_not_linear_is_refused():
    prior = MixtureDenoiser(mixture(), VP())
    with pytest.raises(UserError, match="Gaussian noise and a linear operator alone"):
        condition(mixture(), Laplace(MASK, torch.zeros(1, *SHAPE), 0.1), SHAPE)
    with pytest.raises(UserError, match="Gaussian noise and a linear operator alone"):
        condition(mixture(), Gaussian(Clip(0.0, 1.0), torch.zeros(1, *SHAPE), 0.1), SHAPE)
    with pytest.raises(UserError, match="and this prior is ExactPosterior"):
        Exact()(Exact()(prior, seen(MASK)), seen(MASK))
