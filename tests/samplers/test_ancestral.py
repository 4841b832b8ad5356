"""Ancestral sampling against the published coefficients and the closed forms on Gaussian data."""

from __future__ import annotations

import itertools

import pytest
import torch

from pushforward.denoisers import Estimate, Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, VE, DDIMStrided, Straight, Table, Uniform, UniformLogSNR, linear_betas
from pushforward.samplers import DDIM, DDPM, Ancestral, analytic, encode, fixed_large, fixed_small, simulate, upwards

TABLE = Table.of_betas(linear_betas())


def strided(path: Table, k: int) -> tuple:
    """1 + (T − 1) i/(K − 1) rounded, then clean data: the levels of the published Gaussian table."""
    index = torch.round(torch.linspace(len(path), 1, k, dtype=torch.float64))
    return (*path.levels(index / len(path)), CLEAN)


# ratio of the final variance to the data's 1/4: β̃, β, DDIM, Analytic-DDPM
GAUSSIAN = {
    5: (0.176, 2.233, 0.203),
    10: (0.417, 1.434, 0.523),
    25: (0.654, 1.151, 0.789),
    50: (0.786, 1.072, 0.891),
    100: (0.876, 1.035, 0.944),
    1000: (0.985, 1.003, 0.994),
}


@pytest.mark.parametrize("k", GAUSSIAN)
def test_variances_on_gaussian_data_are_the_closed_forms(k, gaussian, propagate):
    denoiser, levels = gaussian(TABLE), strided(TABLE, k)
    steps = (DDPM, Ancestral(1.0, fixed_large), DDIM)
    ratios = [propagate(denoiser, step, levels, 0.0, 1.0)[1] / 0.25 for step in steps]
    assert ratios == pytest.approx(GAUSSIAN[k], abs=1e-3)


@pytest.mark.parametrize("k", GAUSSIAN)
def test_the_analytic_variance_is_exact_at_every_number_of_steps(k, gaussian, propagate):
    denoiser, levels = gaussian(TABLE), strided(TABLE, k)
    assert propagate(denoiser, Ancestral(1.0, analytic), levels, 0.0, 1.0)[1] / 0.25 == pytest.approx(0.9996, abs=1e-4)
    assert propagate(denoiser, Ancestral(0.0, analytic), levels, 0.0, 1.0)[1] / 0.25 == pytest.approx(0.9996, abs=1e-4)


def test_eta_one_is_ddpm_with_the_posterior_variance(gaussian):
    """μ̃ and β̃ of Ho et al. (2020), eq. 7, written out from the β table."""
    beta = linear_betas()
    bar = torch.cumprod(1 - beta, 0)
    denoiser = gaussian(TABLE)
    x = torch.tensor([[0.3]], dtype=torch.float64)
    draws = Draws.of(3, [0])
    for k in (1000, 500, 2):
        now, following = TABLE.levels([k / 1000, (k - 1) / 1000])
        (move,) = DDPM.plan(TABLE, (now, following))
        moved, _ = DDPM(denoiser, x, move, None, draws)
        b, a, before = beta[k - 1], bar[k - 1], bar[k - 2]
        mean = (before.sqrt() * b * denoiser(x, now).mean + (1 - b).sqrt() * (1 - before) * x) / (1 - a)
        expected = mean + (b * (1 - before) / (1 - a)).sqrt() * draws.normal_like(x)
        assert torch.allclose(moved, expected, rtol=1e-9)


def test_fixed_large_adds_the_forward_variance():
    t, s = TABLE.levels([0.5, 0.499])
    known, estimated = fixed_large(1.0, t, s)
    assert not estimated
    assert known == pytest.approx(float(linear_betas()[499]), rel=1e-9)


@pytest.mark.parametrize("n", [1, 3, 7, 10, 300, 1000])
def test_the_noisiest_level_is_always_used(n):
    levels = DDIMStrided(1000)(TABLE, n)
    assert levels[0].t == 1.0
    assert len(levels) == n + 1
    assert levels[-1] == CLEAN


def test_ddim_is_deterministic_and_ddpm_is_not(bimodal, vp, draws):
    denoiser, levels = bimodal(vp), Uniform()(vp, 6)
    x = draws(4).normal((1,), torch.float64)
    same = [simulate(denoiser, DDIM, x, levels, draws(4, seed)) for seed in (0, 1)]
    other = [simulate(denoiser, DDPM, x, levels, draws(4, seed)) for seed in (0, 1)]
    assert torch.equal(*same)
    assert not torch.equal(*other)


def test_ddim_is_of_first_order(bimodal, vp, orders):
    assert orders(bimodal(vp), DDIM, (48, 96, 192))[-1] == pytest.approx(1.0, abs=0.05)


def test_encoding_and_decoding_come_back_with_an_error_of_first_order(bimodal, vp, draws):
    denoiser = bimodal(vp)
    x = torch.linspace(-1.2, 1.2, 7, dtype=torch.float64)[:, None]
    errors = []
    for n in (50, 100, 200):
        levels = UniformLogSNR(to_clean=False)(vp, n)
        latent = encode(denoiser, DDIM, x, upwards(levels))
        errors.append(float((simulate(denoiser, DDIM, latent, levels, draws(7)) - x).abs().max()))
    assert 1.8 < errors[0] / errors[1] < 2.3
    assert 1.8 < errors[1] / errors[2] < 2.3
    assert errors[-1] < 0.05


def test_the_latent_of_gaussian_data_is_the_flow_in_closed_form(gaussian, vp):
    denoiser = gaussian(vp, 0.5, 0.09)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    levels = upwards(UniformLogSNR()(vp, 4000))
    latent = encode(denoiser, DDIM, x, levels)
    first, last = levels[0], levels[-1]
    scale = [(level.alpha**2 * 0.09 + level.sigma**2) ** 0.5 for level in (first, last)]
    exact = last.alpha * 0.5 + scale[1] / scale[0] * (x - first.alpha * 0.5)
    assert torch.allclose(latent, exact, atol=5e-3)


def test_what_cannot_be_encoded_is_refused(gaussian, vp):
    denoiser, x = gaussian(vp), torch.zeros(2, 1)
    levels = Uniform()(vp, 4)
    with pytest.raises(UserError, match="start at the path's t_min"):
        encode(denoiser, DDIM, x, tuple(reversed(levels)))
    with pytest.raises(UserError, match="must increase from data to noise"):
        encode(denoiser, DDIM, x, levels)
    with pytest.raises(UserError, match="only DDIM"):
        encode(denoiser, DDPM, x, upwards(levels))
    with pytest.raises(UserError, match="draws no noise"):
        encode(denoiser, Ancestral(0.0, analytic), x, upwards(levels))


def test_from_no_data_at_all_the_first_step_is_finite(gaussian, draws):
    path = Straight()
    for step in (DDIM, DDPM, Ancestral(1.0, analytic)):
        x = simulate(gaussian(path), step, draws(8).normal((1,)), Uniform()(path, 5), draws(8))
        assert torch.isfinite(x).all()


def test_an_estimate_without_variance_is_refused_by_analytic(vp, draws):
    class Silent(MixtureDenoiser):
        def estimate(self, x, level):
            return Estimate.of_mean(x, level, 0 * x)

    denoiser = Silent(Mixture.of_points(torch.zeros(1, 1)), vp)
    with pytest.raises(UserError, match="choose fixed_small or fixed_large"):
        simulate(denoiser, Ancestral(1.0, analytic), torch.zeros(2, 1), Uniform()(vp, 3), draws(2))


def test_eta_outside_zero_one_is_refused():
    with pytest.raises(UserError, match="eta must lie in"):
        Ancestral(1.5)


def test_ddpm_is_the_ancestral_predictor_on_ve():
    """x + (σ_t² − σ_s²) score, variance σ_s²(σ_t² − σ_s²)/σ_t² (Song et al. 2021, eq. 47)."""
    path = VE()
    levels = path.levels([0.6, 0.5])
    (move,) = DDPM.plan(path, levels)
    t, s = (level.sigma for level in levels)
    assert move.fresh**2 == pytest.approx(s**2 * (t**2 - s**2) / t**2)
    x, mean = 0.7, 0.2
    assert move.state * x + move.mean * mean == pytest.approx(x + (t**2 - s**2) * (mean - x) / t**2)
    assert fixed_small(1.0, *levels) == (s**2, False)
    assert all(a.ratio > b.ratio for a, b in itertools.pairwise(levels))
