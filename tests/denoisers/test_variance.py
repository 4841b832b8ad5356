"""Estimated and learned variances against exact ones."""

import math

import pytest
import torch
from torch import nn

from pushforward.denoisers import (
    BetaVariance,
    LearnedVariance,
    Mixture,
    MixtureDenoiser,
    NetworkDenoiser,
    NoisePrediction,
    PriorVariance,
    VarianceTable,
    WithVariance,
    clipped,
    estimate_variances,
    noise_power,
    squared_error,
)
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, VP, Straight, Table, UniformLogSNR, linear_betas
from pushforward.samplers.ancestral import Ancestral, analytic

S2 = 0.25


def gaussian(path, variance=S2, dim=4):
    means = torch.zeros(1, dim, dtype=torch.float64)
    return MixtureDenoiser(
        Mixture.of_covariances(torch.ones(1).double(), means, torch.tensor([variance], dtype=torch.float64)), path
    )


@pytest.mark.parametrize("estimator", [noise_power, squared_error])
def test_gamma_of_gaussian_data(estimator):
    """Γ = σ²/(α²s² + σ²), and the variance s²σ²/(α²s² + σ²), at every level."""
    path, draws = VP(), Draws.of(0, range(4000))
    denoiser, levels = gaussian(path), path.levels([0.01, 0.1, 0.3, 0.6])
    x0 = denoiser.mixture.sample(draws)
    table = estimate_variances(denoiser, x0, levels, draws.at("gamma"), estimator=estimator, batch=999)
    for level in levels:
        total = level.alpha**2 * S2 + level.sigma**2
        assert table.gamma(level) == pytest.approx(level.sigma**2 / total, abs=0.02)
        assert table.var(level) == pytest.approx(S2 * level.sigma**2 / total, rel=0.15)
    again = estimate_variances(denoiser, x0, levels, draws.at("gamma"), estimator=estimator, batch=333)
    assert again.shares == pytest.approx(table.shares, rel=1e-9)  # batches change nothing


def test_squared_error_is_exact_near_pure_noise_where_the_power_of_the_noise_is_not():
    path, draws = VP(), Draws.of(0, range(2000))
    denoiser, level = gaussian(path), path.level(0.99)
    x0 = denoiser.mixture.sample(draws)
    errors = {
        estimator: abs(estimate_variances(denoiser, x0, [level], draws, estimator=estimator).var(level) / S2 - 1)
        for estimator in (noise_power, squared_error)
    }
    assert errors[squared_error] < 0.05
    raw = 1 - Draws.of(0, range(2000)).at("variance", 0).normal((4,), torch.float64).square().mean()
    assert errors[noise_power] < abs(float(raw)) * (level.sigma / level.alpha) ** 2 / S2 / 3  # the common noise cancels


def test_between_the_levels_of_a_table_a_gaussian_is_interpolated_closely():
    path = EDM()
    exact, levels = gaussian(path), UniformLogSNR(to_clean=False)(path, 40)
    shares = [(float(level.log_ratio), S2 * (1 + level.sigma**2) / (S2 + level.sigma**2)) for level in levels]
    table = VarianceTable(tuple(k for k, _ in shares), tuple(v for _, v in shares))
    denoiser = WithVariance(exact, table)
    x = torch.zeros(3, 4, dtype=torch.float64)
    for sigma in (0.0021, 0.07, 0.5, 3.0, 70.0):
        want = S2 * sigma**2 / (S2 + sigma**2)
        assert denoiser(x, sigma / 80).var.tolist() == pytest.approx([want] * 3, rel=3e-3)
    t = torch.tensor([0.07, 0.5, 70.0], dtype=torch.float64) / 80
    together = denoiser(x, t).var
    assert together.tolist() == pytest.approx([denoiser(x, float(v)).var[0].item() for v in t], rel=1e-6)
    assert table.share(100.0) == table.shares[-1]
    assert table.share(-100.0) == table.shares[0]
    constant = WithVariance(exact, VarianceTable((0.0,), (1.0,)))
    assert constant(x, t).var[1].item() == pytest.approx(0.25 / 1.25)


def test_the_limit_is_an_option_and_the_mean_is_untouched():
    path = EDM()
    denoiser, table = gaussian(path), VarianceTable((0.0,), (4.0,))
    x, level = torch.ones(2, 4, dtype=torch.float64), path.level(0.5)
    assert WithVariance(denoiser, table)(x, level).var[0].item() == pytest.approx(4 * 1600 / 1601)
    assert WithVariance(denoiser, table, limit=1.0)(x, level).var[0].item() == 1.0
    assert torch.equal(WithVariance(denoiser, table)(x, level).noise, denoiser(x, level).noise)


def final_variance(s2, limit, steps=10):
    """Of Analytic-DPM on N(0, s²) over s², propagated exactly: every step is linear."""
    table = Table.of_betas(linear_betas())
    index = [round(1 + 999 * i / (steps - 1)) / 1000 for i in reversed(range(steps))]
    levels = (*table.levels(index), CLEAN)
    shares = [s2 * (v.alpha**2 + v.sigma**2) / (v.alpha**2 * s2 + v.sigma**2) for v in levels[:-1]]
    known = VarianceTable(tuple(float(v.log_ratio) for v in levels[:-1]), tuple(shares))
    denoiser = WithVariance(gaussian(table, s2, 1), known, limit)
    variance, one = 1.0, torch.ones(1, 1, dtype=torch.float64)
    for move in Ancestral(1.0, analytic).plan(table, levels):
        estimate = denoiser.estimate(one, move.level)
        scale = estimate.read(move.mean + move.state * move.level.alpha, move.state * move.level.sigma).item()
        fresh = move.fresh**2 + move.spread * estimate.var.item() if move.random else 0.0
        variance = scale**2 * variance + fresh
    return variance / s2


def test_the_published_limit_harms_data_of_another_scale_and_is_off_by_default():
    assert final_variance(0.25, None) == pytest.approx(0.9996, abs=1e-5)
    assert final_variance(4.0, None) == pytest.approx(1.0, abs=1e-4)
    assert final_variance(4.0, 1.0) == pytest.approx(0.842, abs=1e-3)


class ByLabel(nn.Module):
    """Exact noise of N(0, variances[label]) in a network's clothes, for α = 1."""

    def forward(self, x, time, label):
        ratio = torch.exp(4 * time.double())[:, None]
        variance = torch.tensor([0.01, 1.0], dtype=torch.float64)[label][:, None]
        return (x * (1 + ratio**2).sqrt()) * ratio / (variance + ratio**2)


def test_a_conditional_model_is_measured_under_the_conditions_of_its_data():
    path, draws = EDM(), Draws.of(0, range(4000))
    label = torch.arange(4000) % 2
    x0 = draws.at("x").normal((2,), torch.float64) * torch.tensor([0.1, 1.0]).double()[label][:, None]
    model = NetworkDenoiser(path, ByLabel(), NoisePrediction(), accepts=("label",))
    level = path.level(1.0 / 80)
    table = estimate_variances(model, x0, [level], draws, conditions={"label": label})
    pooled = 0.5 * (0.01 / 1.01 + 1 / 2)
    assert table.var(level) == pytest.approx(pooled, rel=0.1)
    wrong = estimate_variances(model, x0, [level], draws, conditions={"label": 0 * label})
    assert abs(wrong.var(level) - pooled) > 0.1  # the trap: the wrong conditions
    bound = WithVariance(model, table).given(label=label[:2])
    assert bound(x0[:2], level).var.shape == (2,)


class TwoHeads(nn.Module):
    def __init__(self, v):
        super().__init__()
        self.v = v

    def forward(self, x, time):
        return torch.cat((x, torch.full_like(x, self.v)), 1)


@pytest.mark.parametrize("k", [2, 10, 500, 1000])
def test_learned_variance_reaches_from_the_small_to_the_large(k):
    """With c the weight of x_0 in the posterior mean, β̃ + c² Var is exp(lerp(log β̃, log β))."""
    betas = linear_betas()
    table = Table.of_betas(betas)
    bar = torch.cumprod(1 - betas, 0)
    beta, now, before = float(betas[k - 1]), float(bar[k - 1]), float(bar[k - 2])
    small, weight = beta * (1 - before) / (1 - now), before**0.5 * beta / (1 - now)
    x = torch.ones(2, 3, dtype=torch.float64)
    for v, want in ((-1.0, small), (1.0, beta), (0.0, math.sqrt(small * beta))):
        base = NetworkDenoiser(table, TwoHeads(v), NoisePrediction())
        estimate = LearnedVariance(base, BetaVariance(table))(x, k / 1000)
        assert estimate.output.shape == (2, 3)
        assert (small + weight**2 * estimate.var)[0, 0].item() == pytest.approx(want, rel=1e-6)
        assert torch.allclose(estimate.noise, x * base.prediction.input_scale(table.level(k / 1000)))


def test_learned_variance_at_the_first_level_and_per_sample():
    table = Table.of_betas(linear_betas(10))
    rule = BetaVariance(table)
    second = table.posterior(torch.zeros(1, 1), torch.zeros(1, 1), 0.1, 0.2).var
    v = torch.full((1, 1), -1.0, dtype=torch.float64)
    assert rule(table.level(0.1), v).item() == pytest.approx(second, rel=1e-6)  # β̃_2, as β̃_1 = 0; c = 1
    both = rule(table.level(torch.tensor([0.1, 0.7], dtype=torch.float64)), v.expand(2, 1))
    assert both.flatten().tolist() == pytest.approx([rule(table.level(t), v).item() for t in (0.1, 0.7)])
    single = BetaVariance(Table.of_betas([0.3]))
    assert single(single.table.level(1.0), v).item() == pytest.approx(0.3)


def test_prior_variance_and_other_wrappers_over_a_learned_one():
    path = Straight()
    base = NetworkDenoiser(path, TwoHeads(1.0), NoisePrediction())
    model = LearnedVariance(base, PriorVariance(0.5))
    x, level = torch.ones(2, 3, dtype=torch.float64), path.level(0.5)
    assert model(x, level).var[0, 0].item() == pytest.approx(0.25 * 0.25 / (0.25 * 0.25 + 0.25))
    assert clipped(model)(x, level).var.shape == (2, 3)
    assert model.prediction is base.prediction
    assert model.rows(torch.tensor([0]))(x[:1], level).var.shape == (1, 3)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: VarianceTable((1.0, 0.0), (1.0, 1.0)), "increasing"),
        (lambda: VarianceTable((), ()), "as many"),
        (lambda: VarianceTable((0.0,), (math.nan,)), "finite"),
        (lambda: estimate_variances(gaussian(VP()), torch.ones(2, 4), [VP().level(0.5)], Draws.of(0, [0])), "keys"),
        (
            lambda: estimate_variances(gaussian(VP()), torch.ones(1, 4), [Straight().level(1.0)], Draws.of(0, [0])),
            "α > 0",
        ),
        (
            lambda: LearnedVariance(NetworkDenoiser(VP(), nn.Identity(), NoisePrediction()), PriorVariance()).given(
                a=1
            ),
            "no condition",
        ),
    ],
)
def test_what_variances_refuse(bad, says):
    with pytest.raises(UserError, match=says):
        bad()


def test_a_network_with_one_output_has_no_learned_variance():
    class One(nn.Module):
        def forward(self, x, time):
            return x

    model = LearnedVariance(NetworkDenoiser(VP(), One(), NoisePrediction()), PriorVariance())
    with pytest.raises(UserError, match="6 output channels"):
        model(torch.ones(2, 3), 0.5)
