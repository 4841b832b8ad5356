"""A model of one law is of one mind at every noise; one whose levels differ is told, whatever its sampler does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, Mixture, MixtureDenoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.inverse import Gaussian, Identity
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.posterior import FlowChains, Question, SplitGibbs, infer, levels_agree, prior_draws, ranks_of

F64 = torch.float64
SIZE, ITEMS = 12, 200
PATH = EDM(0.005, 20.0)


def normal(variance: float) -> MixtureDenoiser:
    of = Mixture.of_covariances(
        torch.ones(1, dtype=F64), torch.zeros(1, SIZE, dtype=F64), torch.full((1,), variance, dtype=F64)
    )
    return MixtureDenoiser(of, PATH)


@dataclass(frozen=True)
class Divided(Denoiser):
    """One law at little noise, another at much, as of a network that has learned one and not the other."""

    noisy: MixtureDenoiser
    clean: MixtureDenoiser
    path: GaussianPath = PATH

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return (self.noisy if float(torch.as_tensor(level.ratio).max()) > 0.6 else self.clean).estimate(x, level)


def simulated(denoiser: Denoiser, sigma: float = 0.5) -> tuple[Tensor, Likelihood]:
    keys = Draws.of(3, range(ITEMS))
    x = prior_draws(denoiser, (SIZE,), keys, 60, F64)
    return x, Gaussian.measure(Identity(), x, sigma, keys.at("noise"))


def test_levels_of_one_law_agree():
    x, likelihood = simulated(normal(1.0))
    found = levels_agree(normal(1.0), likelihood, x, Draws.of(4, range(ITEMS)), at_once=64)
    assert found.p_value > 0.05
    assert all(abs(test.value) < 0.25 for test in found.tests)


def test_levels_of_two_laws_are_told():
    divided = Divided(normal(1.0), normal(0.5))
    x, likelihood = simulated(divided)
    found = levels_agree(divided, likelihood, x, Draws.of(4, range(ITEMS)), sampler=SplitGibbs(inner=12))
    assert found.p_value < 1e-4
    drift = {test.name: test.value for test in found.tests}
    assert drift["log p(y | x)"] < -0.2 and drift["|x|²"] < -0.2


def test_chains_through_the_sampler_pass_where_levels_disagree():
    divided, items = Divided(normal(1.0), normal(0.5)), 60
    method, keys = FlowChains(steps=6, start=10), Draws.of(5, range(items))
    x = method.prior_draws(divided, (SIZE,), keys, F64)
    likelihood = Gaussian.measure(Identity(), x, 0.5, keys.at("noise"))
    found = infer(method, Question(divided, likelihood, (SIZE,), items, F64), samples=19, evaluations=700)
    assert ranks_of(found, x).passes(0.01)


def test_few_items_and_exact_measurements_are_refused():
    x, likelihood = simulated(normal(1.0))
    few = torch.arange(7)
    with pytest.raises(UserError, match="at least eight"):
        levels_agree(normal(1.0), likelihood.select(few), x[few], Draws.of(4, range(7)))
    with pytest.raises(UserError, match="sigma = 0"):
        levels_agree(normal(1.0), Gaussian(Identity(), x, 0.0), x, Draws.of(4, range(ITEMS)))
