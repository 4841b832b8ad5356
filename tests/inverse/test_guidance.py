"""Guidance by a measurement: exact for isotropic Gaussian priors, with every path, step and grid, in any grad mode."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from pushforward.denoisers import (
    DataPrediction,
    Denoiser,
    EDMPrediction,
    Estimate,
    Mixture,
    MixtureDenoiser,
    NetworkDenoiser,
)
from pushforward.denoisers.guidance import guided
from pushforward.denoisers.wrappers import clipped
from pushforward.errors import UserError
from pushforward.inverse import Blur, Mask, Observation, PiGDM, Posterior, gaussian_kernel, isotropic_variance
from pushforward.inverse.rules import VarianceLaw
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, CosineVP, Straight, SubVP, Table
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level
from pushforward.paths.grids import Karras, Uniform, UniformLogSNR
from pushforward.paths.table import linear_betas
from pushforward.samplers import DDIM, DDPM, Churn, DPMSolverPP2M, Heun, Multistep, simulate
from pushforward.samplers.multistep import RenewedQuantity

F64 = torch.float64
SHAPE = (1, 4, 4)
SD = 0.5
PATHS = [VP(), CosineVP(), SubVP(), VE(), EDM(), Straight(), Table.of_betas(linear_betas(50))]
OPERATORS = [
    Mask(torch.arange(16).reshape(4, 4) % 3 > 0),
    Blur(gaussian_kernel(3, 0.8, F64)),
]
MEAN = torch.linspace(-1, 1, 16, dtype=F64)


def gaussian(path) -> MixtureDenoiser:
    one = torch.ones(1, dtype=F64)
    return MixtureDenoiser(Mixture.of_covariances(one, MEAN[None], one * SD**2), path)


def posterior(prior: Denoiser, observation: Observation, law: VarianceLaw) -> Posterior:
    return PiGDM(law)(prior, observation)


def matrix(operator) -> Tensor:
    return operator(torch.eye(16, dtype=F64).reshape(-1, *SHAPE)).flatten(1).T


def observed(operator, sigma: float, batch: int) -> Observation:
    draws = Draws.of(5, range(batch), "truth")
    truth = MEAN.reshape(SHAPE) + SD * draws.normal(SHAPE, F64)
    return Observation.measure(operator, truth, sigma, draws)


def exact_mean(x: Tensor, level, observation: Observation) -> Tensor:
    """E[x_0 | x_t, y] of the Gaussian prior, by its normal equations."""
    a = matrix(observation.operator)
    eye = torch.eye(16, dtype=F64)
    noise = level.sigma**2
    precision = level.alpha**2 / noise * eye + eye / SD**2 + a.T @ a / observation.sigma**2
    right = level.alpha / noise * x.flatten(1) + MEAN / SD**2 + observation.y.flatten(1) @ a / observation.sigma**2
    return torch.linalg.solve(precision, right.T).T.reshape(x.shape)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_exact_for_an_isotropic_gaussian_at_every_level(path, operator):
    observation = observed(operator, 0.1, 3)
    denoiser = posterior(gaussian(path), observation, isotropic_variance(SD))
    for level in Uniform(to_clean=False)(path, 12):
        x = path.mix(MEAN.reshape(SHAPE), Draws.of(1, range(3)).normal(SHAPE, F64), level)
        found = denoiser(x, level)
        assert torch.allclose(found.mean, exact_mean(x, level, observation), rtol=0, atol=1e-8)
        assert torch.allclose(level.alpha * found.mean + level.sigma * found.noise, x, rtol=0, atol=1e-8)


def test_the_published_unit_variance_is_not_exact():
    observation = observed(OPERATORS[0], 0.1, 3)
    path = EDM()
    level = path.level(0.01)
    x = path.mix(MEAN.reshape(SHAPE), Draws.of(1, range(3)).normal(SHAPE, F64), level)
    found = posterior(gaussian(path), observation, isotropic_variance(1.0))(x, level).mean
    assert float((found - exact_mean(x, level, observation)).abs().max()) > 0.05


def test_one_level_per_sample_is_as_each_alone():
    observation = observed(OPERATORS[1], 0.1, 3)
    path, t = Straight(), torch.tensor([0.2, 0.5, 0.9], dtype=F64)
    x = Draws.of(1, range(3)).normal(SHAPE, F64)
    together = posterior(gaussian(path), observation, isotropic_variance(SD))(x, t).mean
    for i in range(3):
        part = replace(observation, y=observation.y[i : i + 1])
        alone = posterior(gaussian(path), part, isotropic_variance(SD))(x[i : i + 1], float(t[i])).mean
        assert torch.allclose(together[i : i + 1], alone, rtol=0, atol=1e-12)


def test_clean_data_and_one_measurement_for_all():
    observation = replace(observed(OPERATORS[0], 0.1, 1))
    denoiser = posterior(gaussian(EDM()), observation, isotropic_variance(SD))
    x = Draws.of(1, range(3)).normal(SHAPE, F64)
    assert torch.allclose(denoiser(x, CLEAN).mean, x, rtol=0, atol=1e-12)
    found = denoiser(x, 0.1)
    assert torch.allclose(found.mean, exact_mean(x, EDM().level(0.1), observation), rtol=0, atol=1e-8)


STEPS = {
    "ddim": DDIM,
    "ddpm": DDPM,
    "2m": DPMSolverPP2M,
    "sde-2m": Multistep(2, RenewedQuantity()),
    "heun": Heun(),
    "edm": Heun(Churn(4.0)),
}


@dataclass(frozen=True)
class ExactPosterior(Denoiser):
    """The closed form, which guidance must reproduce."""

    path: GaussianPath
    observation: Observation

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_mean(x, level, exact_mean(x, level, self.observation))


@pytest.mark.parametrize("grid", [Uniform(), UniformLogSNR(), Karras()], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("path", [EDM(), Straight(), Straight(t_max=0.999), VP()], ids=lambda p: type(p).__name__)
def test_any_step_on_any_grid_draws_what_the_exact_posterior_draws(path, step, grid):
    if isinstance(step, Heun) and path.t_max == 1 and isinstance(path, Straight):
        pytest.skip("Heun in σ/α refuses a path that ends at α = 0")
    observation, batch = observed(OPERATORS[0], 0.05, 4), 4
    draws = Draws.of(2, range(batch))
    start = path.prior(draws.at("prior").normal(SHAPE, F64))
    guided = posterior(gaussian(path), observation, isotropic_variance(SD))
    found, expected = (
        simulate(denoiser, step, start, grid(path, 8), draws)
        for denoiser in (guided, ExactPosterior(path, observation))
    )
    assert torch.allclose(found, expected, rtol=0, atol=1e-8)


def test_many_draws_have_the_posterior_mean_and_variance():
    batch, path = 4000, EDM()
    observation = observed(OPERATORS[1], 0.2, 1)
    draws = Draws.of(2, range(batch))
    denoiser = posterior(gaussian(path), observation, isotropic_variance(SD))
    found = simulate(denoiser, Heun(), path.prior(draws.normal(SHAPE, F64)), Karras()(path, 40), draws).flatten(1)
    a = matrix(observation.operator)
    precision = torch.eye(16, dtype=F64) / SD**2 + a.T @ a / 0.2**2
    mean = torch.linalg.solve(precision, MEAN / SD**2 + observation.y.flatten() @ a / 0.2**2)
    covariance = torch.linalg.inv(precision)
    scale = covariance.diagonal().sqrt()
    assert float(((found.mean(0) - mean) / scale).abs().max()) < 5 / batch**0.5
    assert float((torch.cov(found.T) - covariance).abs().max() / covariance.diagonal().max()) < 0.1


class Labelled(nn.Module):
    """A small network of a state and a label."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 16)
        self.label = nn.Embedding(3, 16)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        h = torch.tanh(self.mix(x.flatten(1)) + time[:, None])
        return (h + (0 if label is None else self.label(label))).reshape(x.shape)


def network(prediction=None) -> NetworkDenoiser:
    net = Labelled().eval()
    for i, p in enumerate(net.parameters()):
        p.data = 0.3 * Draws.of(i, [0], "weights").normal(p.shape)[0]
    return NetworkDenoiser(EDM(), net, prediction or EDMPrediction(SD), accepts=("label",))


NETWORK = network()


@dataclass(frozen=True, eq=False)
class Case:
    x: Tensor
    labels: Tensor
    observation: Observation

    def found(self) -> Tensor:
        denoiser = posterior(NETWORK, self.observation, isotropic_variance(SD)).given(label=self.labels)
        return denoiser(self.x, 0.01).mean


def case() -> Case:
    draws = Draws.of(3, range(4))
    operator = OPERATORS[0]
    observation = Observation(operator, operator(draws.at("y").normal(SHAPE)), 0.1)
    return Case(draws.at("x").normal(SHAPE), torch.tensor([0, 1, 2, 0]), observation)


def with_label() -> Denoiser:
    return NETWORK.given(label=torch.tensor([0, 1, 2, 0]))


def with_guidance() -> Denoiser:
    return guided(with_label(), NETWORK.given(label=torch.full((4,), 2)), 2.5)


@pytest.mark.parametrize("make", [with_label, with_guidance, lambda: clipped(with_label(), -0.4, 0.4)])
def test_the_gradient_of_any_prior_is_that_of_the_log_likelihood(make):
    one, path, prior = case(), EDM(), make()
    level = path.level(0.01)
    kept = one.observation.operator.mask
    variance = isotropic_variance(SD)(level)

    def log_likelihood(x: Tensor) -> Tensor:
        residual = one.observation.y - one.observation.operator(prior(x, level).mean)
        return (-0.5 * residual[..., kept].square() / (variance + 0.1**2)).sum()

    state = one.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_likelihood(state), state)
    expected = prior(one.x, level).mean + level.sigma**2 * gradient
    with torch.inference_mode():
        found = posterior(prior, one.observation, isotropic_variance(SD))(one.x, level).mean
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_are_taken_whatever_the_callers_mode(mode):
    expected = case().found()
    with mode():
        one = case()  # in inference mode the state and the measurement are inference tensors
        found = replace(one, labels=case_labels()).found()
    assert torch.equal(found, expected)
    assert not found.requires_grad


def case_labels() -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([0, 1, 2, 0])


def test_conditions_pass_through_and_change_the_answer():
    one = case()
    other = replace(one, labels=torch.tensor([1, 1, 2, 0])).found()
    assert not torch.allclose(other[0], one.found()[0])
    assert torch.allclose(other[1:], one.found()[1:])
    with pytest.raises(UserError, match="no condition 'colour'"):
        posterior(network(DataPrediction(SD)), one.observation, isotropic_variance(SD)).given(colour=one.labels)


def test_a_variance_law_needs_a_positive_deviation():
    with pytest.raises(UserError, match="sigma_data"):
        isotropic_variance(0.0)
