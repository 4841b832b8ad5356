"""Chains leave their density where it is, or are off by what theory says; steps come to the wanted acceptance."""

from __future__ import annotations

import math

import pytest
import torch
from tests.energy.worlds import PATH, mixture, unnormalised

from pushforward.denoisers import MixtureDenoiser
from pushforward.energy import HMC, MALA, Point, Unadjusted, fit_step, mala_step, run_chain, target_of
from pushforward.energy.point import checked
from pushforward.errors import NumericalError, UserError
from pushforward.numerics.random import Draws

CHAINS = 8000


def last(target, kernel, point, moves, draws):
    *_, end = run_chain(target, kernel, point, moves, draws)
    return end.point


@pytest.mark.parametrize("kernel", [MALA(0.1), HMC(0.03, 4)], ids=["mala", "hmc"])
def test_exact_samples_stay_exact_samples(kernel):
    world = mixture(2)
    target, draws = target_of(unnormalised(world)), Draws.of(0, range(CHAINS))
    x = last(target, kernel, target(world.sample(draws.at("start"))), 12, draws).x
    error = (world.covariance().diagonal() / CHAINS).sqrt()
    assert ((x.mean(0) - world.mean()).abs() < 4 * error).all()
    assert torch.allclose(torch.cov(x.T), world.covariance(), atol=0.05)
    weights = MixtureDenoiser(world, PATH).responsibilities(x, PATH.level(PATH.t_min)).mean(0)
    assert ((weights - world.weights).abs() < 4 * (0.25 / CHAINS) ** 0.5).all()


def test_without_the_test_the_variance_is_off_by_the_known_factor_and_with_it_is_not():
    step, draws = 0.5, Draws.of(1, range(CHAINS))
    target = target_of(lambda x: -0.5 * x.square().sum(1))
    start = target(draws.at("start").normal((1,), torch.float64))
    free = float(last(target, Unadjusted(step), start, 20, draws).x.var())
    exact = float(last(target, MALA(step), start, 20, draws).x.var())
    error = math.sqrt(2 / CHAINS)
    assert free * (1 - step / 2) == pytest.approx(1, abs=4 * error)
    assert abs(exact - 1) < 4 * error < free - 1


@pytest.mark.parametrize("dim", [2, 20])
def test_fitted_steps_have_the_wanted_acceptance(dim):
    world = mixture(dim)
    target, draws = target_of(unnormalised(world)), Draws.of(2, range(200))
    for kernel in (MALA(1.0), HMC(1e-2, 3)):
        found = fit_step(target, kernel, target(world.sample(draws)), 60, draws.at("fit"))
        moves = run_chain(target, found.kernel, found.point, 10, draws.at("after"))
        rate = float(torch.stack([moved.accepted for moved in moves]).mean())
        assert rate == pytest.approx(kernel.wanted, abs=0.1)


def test_the_usual_step_is_the_right_one_on_a_normal():
    """Optimal scaling is a statement of many dimensions: 0.574 in the limit."""
    for dim in (50, 200):
        target = target_of(lambda x: -0.5 * x.square().sum(1) / 9)
        draws = Draws.of(3, range(300))
        start = target(3 * draws.at("start").normal((dim,)))
        rate = float(MALA(mala_step(dim, 3.0))(target, start, draws).accepted.mean())
        assert rate == pytest.approx(0.574, abs=0.08)


def test_a_sample_depends_on_its_key_alone_and_steps_may_differ_between_chains():
    target = target_of(unnormalised(mixture(3)))
    draws = Draws.of(4, range(6))
    x = draws.at("start").normal((3,), torch.float64)
    steps = torch.tensor([0.02, 0.05, 0.1, 0.2, 0.5, 1.0], dtype=torch.float64)
    together = last(target, HMC(steps, 2), target(x), 5, draws).x
    for i in range(6):
        alone = last(target, HMC(float(steps[i]), 2), target(x[i : i + 1]), 5, draws[i : i + 1]).x
        assert torch.allclose(alone[0], together[i], atol=1e-10)


def test_moves_to_where_nothing_is_finite_are_refused_and_starts_there_are_an_error():
    def wall(x):
        return torch.where(x[:, 0] < 0.5, -x.square().sum(1), torch.nan)

    target, draws = target_of(wall), Draws.of(5, range(500))
    x = last(target, MALA(0.3), target(draws.uniform((1,)) - 0.5), 10, draws).x
    assert (x < 0.5).all() and x.std() > 0.1
    with pytest.raises(NumericalError, match="2 of 3 samples is not finite at the start"):
        checked(target(torch.tensor([[0.0], [1.0], [2.0]])), "at the start")


def test_gradients_are_found_in_inference_mode_and_of_flat_densities():
    with torch.inference_mode():
        point = target_of(lambda x: -0.5 * x.square().sum(1))(torch.ones(2, 3))
    assert isinstance(point, Point) and torch.equal(point.score, -torch.ones(2, 3))
    assert torch.equal(target_of(lambda x: torch.zeros(len(x)))(torch.ones(2, 3)).score, torch.zeros(2, 3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: MALA(0.0),
        lambda: HMC(-1.0),
        lambda: HMC(0.1, 0),
        lambda: Unadjusted(math.nan),
        lambda: target_of(lambda x: x)(torch.ones(2, 3)),
    ],
)
def test_mistakes_are_said(make):
    with pytest.raises(UserError):
        make()
