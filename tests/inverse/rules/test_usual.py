"""What is taken unless another method is asked for."""

from __future__ import annotations

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import (
    Categorical,
    Clip,
    Energy,
    Gaussian,
    Laplace,
    Mask,
    NonLinear,
    PiGDM,
    Poisson,
    Product,
    Proximal,
    posterior_samples,
    usual_method,
)
from pushforward.numerics.random import Draws
from pushforward.paths import VP

Y = torch.full((1, 4), 0.5, dtype=torch.float64)
MASK = Mask(torch.tensor([1, 1, 0, 1]))
GAUSSIAN = Gaussian(MASK, Y, 0.1)
LIKELIHOODS = {
    "linear": GAUSSIAN,
    "clipped": Gaussian(Clip(-1.0, 0.8), Y, 0.1),
    "counts": Poisson(MASK, Y, 100.0),
    "outliers": Laplace(MASK, Y, 0.1),
    "energy": Energy(lambda x: (x - 0.5).square().sum(1) * 40),
    "class": Categorical(lambda x: torch.stack((0 * x[:, 0], 40 * (x.sum(1) - 1)), 1), torch.tensor([1])),
    "both": Product((GAUSSIAN, Energy(lambda x: (x - 0.5).square().sum(1) * 40))),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_has_a_method_that_moves_towards_it(name):
    likelihood, one = LIKELIHOODS[name], torch.ones(1, dtype=torch.float64)
    prior = MixtureDenoiser(Mixture.of_covariances(one, torch.zeros(1, 4, dtype=torch.float64), one * 0.3), VP())
    found = posterior_samples(
        usual_method(likelihood), prior, likelihood, (4,), items=1, samples=64, evaluations=20, dtype=torch.float64
    )[:, 0]
    before = prior.mixture.sample(Draws.of(0, range(64)))
    usual = likelihood.log_prob(found).clamp(min=-1e3).mean()
    assert float(usual) > float(likelihood.log_prob(before.abs()).clamp(min=-1e3).mean()) + 0.5


def test_no_pseudo_inverse_is_asked_of_an_operator_that_has_none():
    y = torch.full((1, 2), 0.5)
    assert isinstance(usual_method(Gaussian(NonLinear(torch.abs), y, 0.2)).rule, Proximal)
    assert isinstance(usual_method(Gaussian(NonLinear(torch.exp, torch.log), y, 0.2)).rule, PiGDM)
