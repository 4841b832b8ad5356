"""Runge–Kutta steps in ρ and in t: orders, starts at α = 0, and churn that stays inside the path."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.errors import UserError
from pushforward.paths import CLEAN, EDM, VE, VP, Karras, Straight, Uniform
from pushforward.samplers import (
    Churn,
    FlowEuler,
    FlowHeun,
    FlowMidpoint,
    FlowRungeKutta,
    Heun,
    encode,
    simulate,
    upwards,
)


@pytest.mark.parametrize(
    ("step", "order", "per"), [(FlowEuler, 1, 1), (FlowMidpoint, 2, 2), (FlowHeun, 2, 2), (Heun(), 2, 2)]
)
def test_measured_order(step, order, per, bimodal, vp, orders):
    assert orders(bimodal(vp), step, (192, 384), per_step=per)[0] == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("step", [FlowEuler, FlowMidpoint, FlowHeun])
def test_the_straight_path_is_sampled_from_alpha_zero(step, gaussian, draws):
    """N(0.5, 0.04) along the exact flow: x_0 = m + s x_1, since x_1 has unit variance."""
    path = Straight()
    x = draws(9).normal((1,), torch.float64)
    got = simulate(gaussian(path, 0.5, 0.04), step, x, Uniform()(path, 400), draws(9))
    assert torch.allclose(got, 0.5 + 0.2 * x, atol=0.02)


def test_flow_euler_is_its_equation(bimodal, draws):
    path = Straight()
    t, s = path.levels([1.0, 0.8])
    x = draws(3).normal((1,), torch.float64)
    estimate = bimodal(path)(x, t)
    expected = x - 0.2 * (x - estimate.mean)  # v = z − x_0, and at t = 1 the state is the noise
    assert torch.allclose(simulate(bimodal(path), FlowEuler, x, (t, s), draws(3)), expected)


def test_flow_steps_encode_too(bimodal, draws):
    path, x = Straight(), torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    levels = Uniform(to_clean=False)(path, 200)
    latent = encode(bimodal(path), FlowHeun, x, upwards(levels))
    assert torch.allclose(simulate(bimodal(path), FlowHeun, latent, levels, draws(5)), x, atol=2e-3)


def test_a_second_stage_outside_the_interval_is_refused():
    with pytest.raises(UserError, match="c in"):
        FlowRungeKutta(c=0.0)


def test_heun_into_clean_data_ends_on_the_mean(bimodal, draws):
    path = EDM()
    level = path.level(0.001)
    x = draws(3).normal((1,), torch.float64)
    got = simulate(bimodal(path), Heun(), x, (level, CLEAN), draws(3))
    assert torch.allclose(got, bimodal(path)(x, level).mean)


@pytest.mark.parametrize("path", [EDM(), VE(), VP()])
def test_churn_never_passes_the_end_of_the_path(path):
    levels = Karras()(path, 20)
    moves = Heun(Churn(amount=1e3)).plan(path, levels)
    top = path.level(path.t_max).ratio
    assert all(move.level.ratio <= top * (1 + 1e-12) for move in moves)
    assert moves[0].level == levels[0]
    assert moves[1].level.ratio > levels[1].ratio
    assert moves[10].level.ratio / levels[10].ratio == pytest.approx(2**0.5, rel=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"amount": -1.0}, {"low": -0.1}, {"low": 2.0, "high": 1.0}, {"noise": 0.0}, {"amount": math.nan}]
)
def test_churn_of_no_meaning_is_refused(wrong):
    with pytest.raises(UserError, match="churn needs amount ≥ 0"):
        Churn(**wrong)


def test_churn_is_the_published_rule(gaussian, draws):
    """σ̂ = σ(1 + γ), x̂ = x + S_noise √(σ̂² − σ²) z, only for σ in [S_min, S_max]."""
    path = EDM()
    levels = path.levels([0.05, 0.04])
    rule = Churn(amount=0.2, low=0.05, high=50.0, noise=1.003)
    (move,) = Heun(rule).plan(path, levels)
    sigma, raised = levels[0].sigma, levels[0].sigma * 1.2
    assert move.level.sigma == pytest.approx(raised)
    assert move.spread == pytest.approx(1.003 * (raised**2 - sigma**2) ** 0.5)
    assert not Heun(Churn(0.2, low=10.0)).plan(path, levels)[0].random


def test_churn_keeps_the_distribution(gaussian, draws):
    path = EDM(sigma_max=20.0)
    x = path.prior(draws(8000).normal((1,), torch.float64))
    got = simulate(gaussian(path, 0.0, 0.25), Heun(Churn(20.0)), x, Karras()(path, 60), draws(8000))
    assert float(got.var()) == pytest.approx(0.25, rel=0.06)


def test_heun_is_refused_at_alpha_zero():
    path = Straight()
    with pytest.raises(UserError, match="use a multistep solver"):
        Heun().plan(path, Uniform()(path, 3))
