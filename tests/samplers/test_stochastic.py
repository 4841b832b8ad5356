"""Langevin, reverse SDE and their predictors: stationary biases, recursions and orders in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.paths import (
    CLEAN,
    EDM,
    VE,
    VP,
    CosineVP,
    DDIMStrided,
    Straight,
    SubVP,
    Table,
    Uniform,
    linear_betas,
    ncsn_ladder,
)
from pushforward.samplers import (
    DDPM,
    Ancestral,
    AncestralPredictorVP,
    AnnealedLangevin,
    EulerMaruyama,
    FixedStep,
    Langevin,
    Repeat,
    ReverseDiffusion,
    SignalToNoise,
    Then,
    evaluations,
    fixed_large,
    simulate,
)


@pytest.mark.parametrize(("delta", "ratio"), [(0.1, 1.026), (0.01, 1.0025)])
def test_the_stationary_bias_of_langevin_is_proportional_to_its_step(delta, ratio, gaussian, propagate):
    """Data N(0, σ²) at α = 1: variance 2σ² and 1/(1 − δ/4) of it in the stationary state."""
    path = EDM()
    level = path.level(0.5 / 80)
    step = Langevin(FixedStep(delta))
    levels = (level,) * math.ceil(40 / delta)
    _, variance = propagate(gaussian(path, 0.0, 0.25), step, levels, 0.0, 0.5)
    assert variance / 0.5 == pytest.approx(ratio, abs=6e-4)
    assert variance / 0.5 == pytest.approx(1 / (1 - delta / 4), rel=1e-6)


@pytest.mark.parametrize("r", [0.05, 0.16])
def test_the_snr_rule_takes_the_step_of_the_published_corrector(r, bimodal, draws):
    """x + ε s + √(2ε) z with ε = 2(r‖z‖/‖s‖)² per sample."""
    path = VE()
    level = path.level(0.5)
    denoiser = MixtureDenoiser(Mixture.of_points(torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)), path)
    x = 0.7 * draws(5).normal((2,), torch.float64)
    (move,) = Langevin(SignalToNoise(r)).plan(path, (level, level))
    moved, _ = Langevin(SignalToNoise(r))(denoiser, x, move, None, draws(5))
    z, score = draws(5).normal_like(x), denoiser(x, level).score
    epsilon = 2 * (r * z.norm(dim=1) / score.norm(dim=1)) ** 2
    epsilon = epsilon.clamp(max=level.sigma**2)[:, None]
    assert torch.allclose(moved, x + epsilon * score + (2 * epsilon).sqrt() * z, rtol=1e-9)


def test_a_corrector_alone_is_refused(vp):
    with pytest.raises(UserError, match=r"Then\(predictor, Langevin"):
        Langevin().plan(vp, Uniform()(vp, 3))
    with pytest.raises(UserError, match="stable for 0 < step"):
        FixedStep(2.0)


@pytest.mark.parametrize(
    ("sigmas", "epsilon", "repeats", "end"),
    [(ncsn_ladder(50.0, 0.01, 232), 6.2e-6, 5, 1.1283), (ncsn_ladder(1.0, 0.01, 10), 2e-5, 100, 1.1111)],
    ids=["NCSNv2 CIFAR-10", "NCSN"],
)
def test_annealed_langevin_on_a_point_follows_the_variance_recursion(
    sigmas, epsilon, repeats, end, gaussian, propagate
):
    """v ← (1 − δ)²v + 2δσ²; the end variance over σ_L², and 0 after denoising."""
    ladder = Table.of_sigmas(sigmas)
    levels = DDIMStrided(len(ladder))(ladder, len(ladder))
    delta = epsilon / float(sigmas[0]) ** 2
    variance = float(sigmas[-1]) ** 2
    for level in levels[:-1]:
        for _ in range(repeats):
            variance = (1 - delta) ** 2 * variance + 2 * delta * level.sigma**2
    assert variance / float(sigmas[0]) ** 2 == pytest.approx(end, abs=1e-4)

    step = AnnealedLangevin(epsilon, repeats)
    plan = step.plan(ladder, levels)
    assert [move.delta for move in plan] == pytest.approx([delta] * len(sigmas))
    assert [move.scale for move in plan[:-1]] == pytest.approx([1.0] * (len(sigmas) - 1))
    assert evaluations(step, ladder, levels) == repeats * len(sigmas) + 1
    assert propagate(gaussian(ladder, 0.0, 0.0), step, levels, 0.0, 1.0)[1] == pytest.approx(0.0, abs=1e-12)


def test_annealed_langevin_simulated_on_a_point_has_the_variance_of_the_recursion(gaussian, draws):
    ladder = Table.of_sigmas(ncsn_ladder(1.0, 0.01, 10))
    levels = DDIMStrided(10)(ladder, 10)
    x = simulate(
        gaussian(ladder, 0.0, 0.0),
        AnnealedLangevin(2e-5, 100, denoise=False),
        draws(4000).normal((1,)),
        levels,
        draws(4000),
    )
    assert float(x.var()) / 1e-4 == pytest.approx(1.1111, abs=0.08)


def test_annealing_finds_the_weights_of_far_modes_and_langevin_alone_does_not(draws):
    means = torch.tensor([[-5.0, -5.0], [5.0, 5.0]])
    mixture = Mixture.of_covariances(torch.tensor([0.2, 0.8]), means, torch.ones(2))
    found = {}
    for name, sigmas in (("annealed", ncsn_ladder(10.0, 0.1, 10)), ("alone", torch.tensor([0.1]))):
        ladder = Table.of_sigmas(sigmas)
        levels = DDIMStrided(len(ladder))(ladder, len(ladder))
        step = AnnealedLangevin(0.1 * 0.1**2, 100)
        start = 16 * (draws(2000).uniform((2,)) - 0.5)
        x = simulate(MixtureDenoiser(mixture, ladder), step, start, levels, draws(2000))
        found[name] = float((x.sum(1) > 0).float().mean())
    assert found["annealed"] == pytest.approx(0.8, abs=0.03)
    assert abs(found["alone"] - 0.8) > 0.2


@pytest.mark.parametrize("path", [VP(), VE(0.01, 5.0), SubVP(), EDM(0.01, 5.0), CosineVP(t_max=0.95)])
@pytest.mark.parametrize("step", [EulerMaruyama(), ReverseDiffusion(), DDPM])
def test_the_reverse_sde_is_of_first_order_in_the_variance(path, step, gaussian, propagate):
    denoiser, end = gaussian(path, 0.3, 0.25), path.level(path.t_min)
    exact = end.alpha**2 * 0.25 + end.sigma**2
    start = path.level(path.t_max)
    errors = []
    for n in (150, 300, 600):
        levels = Uniform(to_clean=False)(path, n)
        _, variance = propagate(denoiser, step, levels, 0.3 * start.alpha, start.alpha**2 * 0.25 + start.sigma**2)
        errors.append(abs(variance / exact - 1))
    assert errors[2] < 0.06
    if errors[1] > 1e-4:  # on VE the Euler error changes its sign below that
        assert math.log2(errors[1] / errors[2]) == pytest.approx(1.0, abs=0.35)


def test_reverse_diffusion_is_the_published_predictor_on_vp(bimodal):
    """(2 − √(1 − β)) x + β score + √β z (Song et al. 2021, appendix E) on the discrete table."""
    path = Table.of_betas(linear_betas())
    t, s = path.levels([0.5, 0.499])
    beta = float(linear_betas()[499])
    (move,) = ReverseDiffusion().plan(path, (t, s))
    assert move.fresh == pytest.approx(beta**0.5)
    x = torch.tensor([[0.4]], dtype=torch.float64)
    estimate = bimodal(path)(x, t)
    expected = (2 - (1 - beta) ** 0.5) * x + beta * estimate.score
    assert torch.allclose(estimate.read(move.mean, move.noise), expected)


def test_the_ancestral_predictor_of_vp_is_the_published_one(bimodal, draws):
    """(x + β score)/√(1 − β) + √β z."""
    path = Table.of_betas(linear_betas())
    levels = path.levels([0.3, 0.299])
    beta = float(linear_betas()[299])
    (move,) = AncestralPredictorVP.plan(path, levels)
    x = torch.tensor([[0.4]], dtype=torch.float64)
    moved, _ = AncestralPredictorVP(bimodal(path), x, move, None, draws(1))
    mean = (x + beta * bimodal(path)(x, levels[0]).score) / (1 - beta) ** 0.5
    assert torch.allclose(moved, mean + beta**0.5 * draws(1).normal_like(x))
    assert AncestralPredictorVP == Ancestral(1.0, fixed_large)


def test_into_clean_data_the_sde_returns_the_mean(bimodal, vp, draws):
    level = vp.level(0.01)
    x = draws(3).normal((1,), torch.float64)
    moved = simulate(bimodal(vp), EulerMaruyama(), x, (level, CLEAN), draws(3))
    assert torch.allclose(moved, bimodal(vp)(x, level).mean)


def test_a_corrector_brings_a_coarse_predictor_nearer_to_the_data(gaussian, vp, draws):
    denoiser, levels = gaussian(vp, 0.0, 0.25), Uniform(to_clean=False)(vp, 30)
    x, end = draws(8000).normal((1,), torch.float64), levels[-1].alpha ** 2 * 0.25 + levels[-1].sigma ** 2
    steps = (ReverseDiffusion(), Then(ReverseDiffusion(), Repeat(Langevin(FixedStep(0.3)), 3)))
    wrong = [abs(float(simulate(denoiser, step, x, levels, draws(8000)).var()) / end - 1) for step in steps]
    assert wrong[0] > 0.17
    assert wrong[1] < 0.5 * wrong[0]


def test_sdes_are_refused_where_they_have_no_meaning(vp):
    path = Straight()
    with pytest.raises(UserError, match="infinite where α = 0"):
        EulerMaruyama().plan(path, Uniform()(path, 3))
    with pytest.raises(UserError, match="learns nothing of the data"):
        AnnealedLangevin(1e-8).plan(path, Uniform()(path, 3))
    up = vp.levels([0.2, 0.5])
    for step in (EulerMaruyama(), ReverseDiffusion(), AnnealedLangevin(1e-4)):
        with pytest.raises(UserError, match=r"from (noise to data|much noise to little)"):
            step.plan(vp, up)
