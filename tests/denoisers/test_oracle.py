"""The exact denoisers against brute-force quadrature and automatic differentiation."""

import math

import pytest
import torch

from pushforward.denoisers import EmpiricalDenoiser, Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, Straight

W = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
M = torch.tensor([[0.0, 1.0], [-1.0, -0.5], [1.2, 0.1]], dtype=torch.float64)
FULL = torch.tensor(
    [[[0.3, 0.1], [0.1, 0.2]], [[0.05, -0.02], [-0.02, 0.1]], [[0.4, 0.0], [0.0, 0.02]]], dtype=torch.float64
)


def low_rank():
    angle = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    basis = torch.stack((angle.cos(), angle.sin()), 1)[:, :, None]
    spread, floor = torch.tensor([[0.5], [0.2], [0.1]]).double(), torch.tensor([0.04, 0.09, 0.02]).double()
    return Mixture(W, M, basis, spread, floor)


MIXTURES = {
    "full": Mixture.of_covariances(W, M, FULL),
    "low-rank": low_rank(),
    "diagonal": Mixture.of_covariances(W, M, torch.tensor([[0.3, 0.1], [0.02, 0.2], [0.1, 0.1]]).double()),
    "isotropic": Mixture.of_covariances(W, M, torch.tensor([0.3, 0.02, 0.1]).double()),
    "points": Mixture.of_points(M, W),
}


def covariances(mixture):
    inner = torch.einsum("kdr,kr,ker->kde", mixture.bases, mixture.spreads, mixture.bases)
    return inner + mixture.floors[:, None, None] * torch.eye(mixture.dim, dtype=torch.float64)


def log_density(mixture, x, level):
    """log p_t by the textbook: a mixture of N(α m, α²C + σ²I)."""
    total = level.alpha**2 * covariances(mixture) + level.sigma**2 * torch.eye(2, dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(level.alpha * mixture.means, total)
    return torch.logsumexp(torch.log(mixture.weights) + parts.log_prob(x[:, None]), 1)


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("path", [VP(), EDM(), Straight()], ids=["vp", "edm", "straight"])
@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_score_is_the_gradient_and_variance_is_tweedies_second_formula(mixture, path, t):
    denoiser, level = MixtureDenoiser(mixture, path), path.level(t)
    x = level.alpha * M.repeat(3, 1) + (level.sigma + 0.1) * Draws.of(0, range(9)).normal((2,), torch.float64)
    x.requires_grad_()
    log_p = log_density(mixture, x, level)
    assert torch.allclose(denoiser.log_prob(x, level), log_p, rtol=1e-9)
    score = torch.autograd.grad(log_p.sum(), x, create_graph=True)[0]
    estimate = denoiser(x, level)
    assert torch.allclose(estimate.score, score, rtol=1e-8, atol=1e-9)
    # Cov[x_0 | x_t] = (σ²/α²)(I + σ²∇²log p): its diagonal
    hessian = torch.stack([torch.autograd.grad(score[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(2)], 1)
    tweedie = (level.sigma / level.alpha) ** 2 * (1 + level.sigma**2 * hessian)
    slack = 1e-12 * (level.sigma / level.alpha) ** 2 * (1 + float((level.sigma**2 * hessian).abs().max()))
    assert torch.allclose(estimate.var, tweedie, rtol=1e-6, atol=max(1e-10, slack))


@pytest.mark.parametrize("name", ["full", "low-rank", "diagonal", "isotropic"])
def test_posterior_mean_and_variance_by_quadrature(name):
    """E[x_0 | x_t] and Var as integrals over x_0 on a grid, with no formula of Gaussians but the noise's."""
    mixture, path = MIXTURES[name], VP()
    axis = torch.linspace(-5, 5, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    prior = torch.distributions.MultivariateNormal(mixture.means, covariances(mixture))
    log_prior = torch.logsumexp(torch.log(mixture.weights) + prior.log_prob(grid[:, None]), 1)
    for t in (0.3, 0.8):
        level = path.level(t)
        x = torch.tensor([[0.4, -0.7]], dtype=torch.float64)
        log_like = -((x - level.alpha * grid) ** 2).sum(1) / (2 * level.sigma**2)
        weight = torch.softmax(log_prior + log_like, 0)
        mean = weight @ grid
        var = weight @ (grid - mean) ** 2
        estimate = MixtureDenoiser(mixture, path)(x, level)
        assert torch.allclose(estimate.mean[0], mean, atol=1e-7)
        assert torch.allclose(estimate.var[0], var, atol=1e-7)


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_samples_have_the_moments_and_per_sample_times_agree(mixture):
    x = mixture.sample(Draws.of(0, range(40000)))
    assert torch.allclose(x.mean(0), mixture.mean(), atol=0.03)
    assert torch.allclose(torch.cov(x.T), mixture.covariance(), atol=0.03)
    denoiser, t = MixtureDenoiser(mixture, VP()), torch.tensor([0.2, 0.7], dtype=torch.float64)
    together = denoiser(x[:2], t)
    for i in range(2):
        alone = denoiser(x[i : i + 1], float(t[i]))
        assert torch.allclose(together.mean[i], alone.mean[0])
        assert torch.allclose(together.var[i], alone.var[0])
    responsibilities = denoiser.responsibilities(x[:2], 0.3)
    assert torch.allclose(responsibilities.sum(1), torch.ones(2, dtype=torch.float64))


def test_oracles_keep_the_shape_of_images():
    mixture = Mixture.of_points(torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 2, 2))
    estimate = MixtureDenoiser(mixture, VP())(torch.zeros(5, 3, 2, 2, dtype=torch.float64), 0.5)
    assert estimate.mean.shape == estimate.var.shape == (5, 3, 2, 2)


@pytest.mark.parametrize("path", [VP(), VE(), Straight()], ids=["vp", "ve", "straight"])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_empirical_measure_equals_the_mixture_of_points_in_any_chunks(path, chunk):
    points = Draws.of(0, range(40)).normal((2, 3), torch.float64)
    exact = MixtureDenoiser(Mixture.of_points(points), path)
    streamed = EmpiricalDenoiser(points, path, chunk)
    for t in (path.t_min, 0.1, 0.5, 0.99, path.t_max):
        level = path.level(t)
        x = path.mix(points[:5], Draws.of(1, range(5)).normal((2, 3), torch.float64), level)
        a, b = exact(x, level), streamed(x, level)
        assert torch.allclose(a.mean, b.mean, rtol=1e-7, atol=1e-9)
        assert torch.allclose(a.var, b.var, atol=1e-7)
        assert torch.allclose(exact.log_prob(x, level), streamed.log_prob(x, level), rtol=1e-9, atol=1e-9)
    times = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    assert torch.allclose(exact(x, times).mean, streamed(x, times).mean, rtol=1e-7, atol=1e-9)


def test_empirical_measure_near_the_data_returns_the_point_and_log_prob_is_normalised():
    points = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    path = EDM()
    near = EmpiricalDenoiser(points, path)(torch.tensor([[0.99]], dtype=torch.float64), path.level(0.01 / 80))
    assert near.mean.item() == pytest.approx(1.0)
    assert near.var.item() == pytest.approx(0.0, abs=1e-12)
    axis = torch.linspace(-5, 6, 20001, dtype=torch.float64)[:, None]
    mass = torch.exp(EmpiricalDenoiser(points, path).log_prob(axis, 0.5 / 80)).sum() * float(axis[1] - axis[0])
    assert float(mass) == pytest.approx(1.0, abs=1e-9)
    half = EmpiricalDenoiser(points.float(), path)(torch.tensor([[0.5]]), path.level(0.5 / 80))
    assert half.mean.item() == pytest.approx(0.5)
    assert half.var.item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: Mixture(W, M, torch.zeros(3, 3, 1), torch.zeros(3, 1), torch.zeros(3)), "weights"),
        (lambda: Mixture(-W, M, torch.zeros(3, 2, 0), torch.zeros(3, 0), torch.zeros(3)), "positive"),
        (lambda: Mixture.of_covariances(W, M, -FULL), "negative eigenvalue"),
        (lambda: EmpiricalDenoiser(torch.zeros(0, 2), VP()), "N ≥ 1"),
        (lambda: MixtureDenoiser(MIXTURES["full"], VP()).given(label=1), "no condition"),
    ],
)
def test_what_oracles_refuse(bad, says):
    with pytest.raises(UserError, match=says):
        bad()


def test_one_gaussian_in_closed_form():
    s2, path = 0.25, VP()
    denoiser = MixtureDenoiser(Mixture.of_covariances(torch.ones(1), torch.full((1, 1), 0.7), torch.tensor([s2])), path)
    level = path.level(0.3)
    x = torch.tensor([[1.0]], dtype=torch.float64)
    total = level.alpha**2 * s2 + level.sigma**2
    estimate = denoiser(x, level)
    assert estimate.mean.item() == pytest.approx(0.7 + level.alpha * s2 / total * (1 - level.alpha * 0.7), rel=1e-6)
    assert estimate.var.item() == pytest.approx(level.sigma**2 * s2 / total, rel=1e-6)
    assert denoiser.log_prob(x, level).item() == pytest.approx(
        -0.5 * math.log(2 * math.pi * total) - (1 - level.alpha * 0.7) ** 2 / (2 * total), rel=1e-6
    )
