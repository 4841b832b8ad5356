"""Moment matching is exact for every Gaussian prior, PiGDM for isotropic ones, TMPD where A C A* is diagonal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.inverse import (
    MMPS,
    TMPD,
    Blur,
    Clip,
    Covariance,
    Diagonal,
    Fourier,
    Gaussian,
    Laplace,
    LinearOperator,
    Mask,
    Matrix,
    PiGDM,
    RealAsComplex,
    ZeroBlur,
    gaussian_kernel,
    isotropic_variance,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, Level, Straight, SubVP, Table, linear_betas

F64 = torch.float64
SHAPE, DIM = (1, 4, 4), 16
PATHS = [VP(), SubVP(), VE(), EDM(), Straight(), Table.of_betas(linear_betas(50))]
KEEP = torch.arange(16).reshape(4, 4) % 3 > 0
TO_FOURIER = Mask(torch.arange(16).reshape(4, 4) % 2 > 0) @ Fourier() @ RealAsComplex()
OPERATORS: dict[str, LinearOperator] = {
    "mask": Mask(KEEP),
    "blur": Blur(gaussian_kernel(3, 0.8, F64)),
    "blur without a singular system": ZeroBlur(gaussian_kernel(3, 0.8, F64)),
    "projections": Matrix(Draws.of(1, [0]).normal((7, DIM), F64)[0], SHAPE),
    "complex": TO_FOURIER,
}
MEAN = torch.linspace(-1, 1, DIM, dtype=F64)
ROOT = Draws.of(2, [0]).normal((DIM, DIM), F64)[0] / 4
COVARIANCE = ROOT @ ROOT.T + 0.05 * torch.eye(DIM, dtype=F64)


def gaussian(path, covariance: Tensor = COVARIANCE) -> MixtureDenoiser:
    return MixtureDenoiser(Mixture.of_covariances(torch.ones(1, dtype=F64), MEAN[None], covariance[None]), path)


def real(y: Tensor) -> Tensor:
    return (torch.view_as_real(y) if y.is_complex() else y).flatten(1)


def measured(operator, sigma, batch: int = 3, covariance: Tensor = COVARIANCE) -> Gaussian:
    draws = Draws.of(5, range(batch), "truth")
    root = torch.linalg.cholesky(covariance)
    truth = (MEAN + draws.normal((DIM,), F64) @ root.T).reshape(-1, *SHAPE)
    return Gaussian.measure(operator, truth, sigma, draws)


def exact_mean(x: Tensor, level: Level, seen: Gaussian, covariance: Tensor = COVARIANCE) -> Tensor:
    """E[x_0 | x_t, y] by the normal equations, of the operator's real matrix."""
    a = real(seen.operator(torch.eye(DIM, dtype=F64).reshape(-1, *SHAPE))).T
    precision = (level.alpha / level.sigma) ** 2 * torch.eye(DIM, dtype=F64) + torch.linalg.inv(covariance)
    precision = precision + a.T @ a / seen.sigma**2
    right = level.alpha / level.sigma**2 * x.flatten(1) + torch.linalg.solve(covariance, MEAN)
    right = right + real(seen.y) @ a / seen.sigma**2
    return torch.linalg.solve(precision, right.T).T.reshape(x.shape)


def states(path, level: Level, batch: int = 3) -> Tensor:
    return path.mix(MEAN.reshape(SHAPE), Draws.of(1, range(batch), "z").normal(SHAPE, F64), level)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_moment_matching_is_exact_for_every_gaussian_prior(path, name):
    seen = measured(OPERATORS[name], 0.1)
    posterior = MMPS(60, 1e-14)(gaussian(path), seen)
    for level in path.levels([0.05, 0.3, 0.6, 0.95]):
        x = states(path, level)
        assert torch.allclose(posterior(x, level).mean, exact_mean(x, level, seen), rtol=0, atol=1e-10)


def test_pigdm_is_not_and_one_iteration_is_nearer():
    path, seen = EDM(), measured(OPERATORS["projections"], 0.1)
    level = path.level(0.005)
    x = states(path, level)
    truth = exact_mean(x, level, seen)
    errors = [
        float((rule(gaussian(path), seen)(x, level).mean - truth).norm())
        for rule in (PiGDM(), MMPS(1), MMPS(3), MMPS(7, 1e-12))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[3] < 1e-8


@pytest.mark.parametrize("rule", [PiGDM(), MMPS(40, 1e-14)], ids=["PiGDM", "MMPS"])
@pytest.mark.parametrize("name", OPERATORS)
def test_both_are_exact_for_isotropic_priors(name, rule):
    """The deviation of the data is the denoiser's own: nothing is said of it."""
    path, covariance = VP(), 0.25 * torch.eye(DIM, dtype=F64)
    seen = measured(OPERATORS[name], 0.2, covariance=covariance)
    for level in path.levels([0.1, 0.5, 0.9]):
        x = states(path, level)
        found = rule(gaussian(path, covariance), seen)(x, level).mean
        # The operator's own solve ends at √eps where it has no singular system.
        bound = 1e-7 if isinstance(rule, PiGDM) and "without" in name else 1e-10
        assert torch.allclose(found, exact_mean(x, level, seen, covariance), rtol=0, atol=bound)


def test_without_the_jacobian_pigdm_is_the_same_for_isotropic_priors():
    path, covariance = Straight(), 0.25 * torch.eye(DIM, dtype=F64)
    seen, level = measured(OPERATORS["blur"], 0.2, covariance=covariance), Straight().level(0.4)
    x = states(path, level)
    found = PiGDM(isotropic_variance(0.5), jacobian=False)(gaussian(path, covariance), seen)(x, level).mean
    assert torch.allclose(found, exact_mean(x, level, seen, covariance), rtol=0, atol=1e-10)


def test_noise_and_operators_and_levels_of_each_item():
    """Each item with its own noise, mask and level is as it is alone."""
    path, sigma = VP(), torch.tensor([0.05, 0.2, 0.6], dtype=F64)
    masks = torch.stack([KEEP, ~KEEP, KEEP.T]).reshape(3, 1, 4, 4)
    seen = measured(Mask(masks), sigma)
    t = torch.tensor([0.1, 0.4, 0.8], dtype=F64)
    x = Draws.of(1, range(3)).normal(SHAPE, F64)
    for rule in (MMPS(40, 1e-14), PiGDM(), TMPD()):
        posterior = rule(gaussian(path), seen)
        together = posterior(x, t).mean
        for i in range(3):
            alone = Gaussian(Mask(masks[i, 0]), seen.y[i : i + 1], float(sigma[i]))
            expected = rule(gaussian(path), alone)(x[i : i + 1], float(t[i])).mean
            assert torch.allclose(together[i : i + 1], expected, rtol=0, atol=1e-11)
            one = torch.tensor([i])
            assert torch.allclose(posterior.rows(one)(x[one], t[one]).mean, expected, rtol=0, atol=1e-11)
            if isinstance(rule, MMPS):
                truth = exact_mean(x[i : i + 1], path.level(float(t[i])), alone)
                assert torch.allclose(expected, truth, rtol=0, atol=1e-10)


def test_correlated_noise_is_whitened():
    path = EDM()
    noise = torch.diag(torch.linspace(0.01, 0.3, 7, dtype=F64)) + 0.01
    operator = OPERATORS["projections"]
    clean = measured(operator, 0.1)
    seen = Gaussian.correlated(operator, clean.y, Covariance.of_matrix(noise))
    level = path.level(0.01)
    x = states(path, level)
    a = real(operator(torch.eye(DIM, dtype=F64).reshape(-1, *SHAPE))).T
    inner = torch.linalg.inv(torch.linalg.inv(COVARIANCE) + torch.eye(DIM, dtype=F64) / level.sigma**2)
    mean = (inner @ (torch.linalg.solve(COVARIANCE, MEAN)[:, None] + x.flatten(1).T / level.sigma**2)).T
    truth = mean + (seen.y - mean @ a.T) @ torch.linalg.solve(a @ inner @ a.T + noise, a @ inner)
    found = MMPS(40, 1e-14)(gaussian(path), seen)(x, level).mean
    assert torch.allclose(found.flatten(1), truth, rtol=0, atol=1e-10)


def test_without_noise_the_measurement_is_met():
    path, level = VP(), VP().level(0.3)
    seen = measured(OPERATORS["mask"], 0.0)
    x = states(path, level)
    found = MMPS(40, 1e-14)(gaussian(path), seen)(x, level).mean
    assert torch.allclose(seen.operator(found), seen.y, rtol=0, atol=1e-9)


def test_tweedie_moments_are_exact_where_they_are_diagonal():
    path = VP()
    covariance = torch.diag(torch.linspace(0.05, 1.0, DIM, dtype=F64))
    seen = measured(Diagonal(torch.linspace(0.5, 2, 16, dtype=F64).reshape(4, 4)), 0.1, covariance=covariance)
    for level in path.levels([0.1, 0.5]):
        x = states(path, level)
        found = TMPD(None)(gaussian(path, covariance), seen)(x, level).mean
        assert torch.allclose(found, exact_mean(x, level, seen, covariance), rtol=0, atol=1e-10)


def test_tweedie_moments_do_not_explode_where_pixels_are_anti_correlated():
    path, level = EDM(), EDM().level(0.02)
    sign = torch.where(torch.arange(DIM) % 2 > 0, 1.0, -1.0).double()
    covariance = 0.3 * torch.outer(sign, sign) + 0.01 * torch.eye(DIM, dtype=F64)
    seen = measured(OPERATORS["mask"], 0.05, covariance=covariance)
    x = states(path, level)
    truth = exact_mean(x, level, seen, covariance)
    published, held = (
        float((rule(gaussian(path, covariance), seen)(x, level).mean - truth).norm()) for rule in (TMPD(None), TMPD())
    )
    assert held < 0.3 * published


def test_operators_that_are_not_linear_are_linearised():
    """Where nothing is clipped, clipping is its gain."""
    path, level = VP(), VP().level(0.2)
    linear = measured(Diagonal(torch.full((4, 4), 0.5, dtype=F64)), 0.1)
    clipped = Gaussian(Clip(-50.0, 50.0, 0.5), linear.y, 0.1)
    x = states(path, level)
    found, expected = (MMPS(30, 1e-13)(gaussian(path), seen)(x, level).mean for seen in (clipped, linear))
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_what_has_no_answer_is_refused():
    path, y = VP(), torch.zeros(1, *SHAPE, dtype=F64)
    with pytest.raises(UserError, match="MMPS is for Gaussian noise, and this likelihood is Laplace"):
        MMPS()(gaussian(path), Laplace(Mask(KEEP), y, 0.1))
    with pytest.raises(UserError, match="TMPD needs a linear operator, and Clip is not linear"):
        TMPD()(gaussian(path), Gaussian(Clip(-1.0, 1.0), y, 0.1))
    with pytest.raises(UserError, match="at least one iteration"):
        MMPS(0)
