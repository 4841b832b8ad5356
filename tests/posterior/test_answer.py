"""What draws say: moments, ranks that cover what they claim, and sentences where there are too few."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pushforward.errors import NumericalError, UserError
from pushforward.inverse import Gaussian, Identity, Laplace
from pushforward.numerics.random import Draws
from pushforward.posterior import Posterior, effective_size, split_rhat, weight_size

F64 = torch.float64


def normals(seed: int, rows: int, *shape: int) -> torch.Tensor:
    return Draws.of(seed, range(rows), "answer").normal(shape, F64)


@pytest.mark.parametrize("samples", [19, 33, 96])
def test_an_interval_covers_what_it_says_for_any_number_of_draws(samples):
    """8 000 truths among as many sets of draws; the usual rank is the control, and covers less."""
    items = 8_000
    drawn, truth = normals(0, samples, items, 1), normals(1, items, 1)
    held = Posterior(drawn, 1.0).interval(0.9).holds(truth).double().mean()
    assert float(held) == pytest.approx(0.9, abs=0.012)
    low, high = (torch.quantile(drawn, q, 0) for q in (0.05, 0.95))
    usual = ((low <= truth) & (truth <= high)).double().mean()
    assert float(usual) == pytest.approx(0.9 - 1.8 / (samples + 1), abs=0.01)


def test_moments_and_quantiles_of_weighted_draws():
    """Draws of N(0, 1) weighted to N(1, 1)."""
    drawn = normals(2, 4000, 1, 1)
    answer = Posterior(drawn, 1.0, log_weights=drawn[..., 0] - 0.5)
    assert float(answer.mean) == pytest.approx(1, abs=0.06)
    assert float(answer.deviation) == pytest.approx(1, abs=0.06)
    assert float(answer.quantile(0.25)) == pytest.approx(1 - 0.6745, abs=0.08)
    assert float(answer.effective) == pytest.approx(4000 / math.e, rel=0.15)
    equal = answer.resampled()
    assert equal.log_weights is None
    assert float(equal.mean) == pytest.approx(float(answer.mean), abs=0.01)


def test_equal_weights_change_nothing():
    drawn = normals(3, 40, 3, 2)
    plain, weighted = Posterior(drawn, 1.0), Posterior(drawn, 1.0, log_weights=torch.zeros(40, 3))
    assert torch.allclose(plain.mean, weighted.mean)
    assert torch.allclose(plain.deviation, weighted.deviation)
    assert torch.allclose(plain.deviation, drawn.std(0))
    assert torch.allclose(plain.quantile(0.3), weighted.quantile(0.3))
    assert torch.allclose(plain.quantile(0.025), weighted.quantile(0.025))
    assert plain.worth == weighted.worth == 40
    nineteen = Posterior(drawn[:19], 1.0, log_weights=torch.full((19, 3), -3.0))
    assert torch.allclose(nineteen.interval(0.9).low, drawn[:19].amin(0))


def test_an_interval_of_weighted_draws_covers_what_it_says():
    """Few draws of N(0, 1.3²) weighted to N(0, 1); with a draw at the weights below it, intervals hold 78 %."""
    samples, items = 24, 8_000
    drawn, truth = 1.3 * normals(0, samples, items, 1), normals(1, items, 1)
    log_weights = (0.5 / 1.3**2 - 0.5) * drawn[..., 0] ** 2
    held = weighted_held(drawn, log_weights, truth)
    assert 0.79 < held < 0.83
    assert weighted_held(drawn, torch.zeros_like(log_weights), truth) > 0.87  # the control: draws that are too wide


def weighted_held(drawn: torch.Tensor, log_weights: torch.Tensor, truth: torch.Tensor) -> float:
    """The share of truths in central 80 % intervals, of items whose draws are worth enough for them."""
    rows = weight_size(log_weights) >= 9.5
    answer = Posterior(drawn[:, rows], 1.0, log_weights=log_weights[:, rows])
    return float(answer.interval(0.8).holds(truth[rows]).double().mean())


def test_the_misfit_of_a_right_posterior_is_one():
    """x ~ N(0, 1), y = x + σn, 200 numbers: draws of N(y/(1 + σ²), σ²/(1 + σ²))."""
    sigma, x = 0.5, normals(4, 6, 200)
    y = x + sigma * normals(5, 6, 200)
    share = 1 / (1 + sigma**2)
    drawn = share * y + sigma * share**0.5 * normals(6, 64, 6, 200)
    likelihood = Gaussian(Identity(), y, sigma)
    right, sure = Posterior(drawn, 1.0, likelihood), Posterior(y.expand(64, 6, 200) * 1.0, 1.0, likelihood)
    assert float(right.misfit().z.abs().max()) < 3
    assert float(right.misfit().deviation[0]) == pytest.approx(0.1)
    assert float(sure.misfit().z.max()) < -9


def test_too_few_draws_are_said():
    few = Posterior(normals(7, 18, 2, 3), 1.0)
    with pytest.raises(UserError, match="at least 19 draws, and there are 18"):
        few.interval(0.9)
    assert few.quantile(0.5).shape == (2, 3)
    with pytest.raises(UserError, match="worth"):
        Posterior(normals(7, 60, 2, 3), 1.0, log_weights=20 * normals(8, 60, 2)).quantile(0.05)
    with pytest.raises(UserError, match="one draw"):
        _ = Posterior(normals(7, 1, 2, 3), 1.0).deviation
    with pytest.raises(UserError, match="between 0 and 1"):
        few.quantile(1.0)
    with pytest.raises(UserError, match="of Gaussian noise"):
        Posterior(normals(7, 18, 2, 3), 1.0, Laplace(Identity(), torch.zeros(2, 3), 1.0)).misfit()


def test_draws_that_say_nothing_are_refused():
    """Not finite, complex, or all weight on one of them."""
    drawn = normals(7, 30, 2, 3)
    with pytest.raises(NumericalError, match="draws of 1 of 2 items are not finite"):
        Posterior(torch.where(drawn > drawn[:, 1].max(), math.inf, drawn), 1.0)
    with pytest.raises(NumericalError, match="weights of 1 of 2 items"):
        Posterior(drawn, 1.0, log_weights=torch.tensor([0.0, -math.inf]).expand(30, 2))
    with pytest.raises(UserError, match=r"one per draw, \(30, 2\)"):
        Posterior(drawn, 1.0, log_weights=torch.zeros(30))
    with pytest.raises(UserError, match="worth one draw"):
        _ = Posterior(
            drawn, 1.0, log_weights=torch.where(torch.arange(30) < 1, 0.0, -1e4)[:, None].expand(30, 2)
        ).deviation
    with pytest.raises(UserError, match="of real numbers"):
        Posterior(torch.complex(drawn, drawn), 1.0).interval(0.9)


def autoregressive(rho: float, length: int, chains: int) -> torch.Tensor:
    """Stationary chains x_i = ρ x_{i−1} + √(1 − ρ²) z."""
    z, states = normals(9, length, chains), []
    for i in range(length):
        states.append(z[i] if not i else rho * states[-1] + math.sqrt(1 - rho**2) * z[i])
    return torch.stack(states)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_effective_size_of_autoregressive_chains_is_known(rho):
    """n C (1 − ρ)/(1 + ρ)."""
    size = float(effective_size(autoregressive(rho, 1000, 8)))
    assert size == pytest.approx(8000 * (1 - rho) / (1 + rho), rel=0.2)


def test_split_rhat_tells_chains_that_differ_and_chains_that_drift():
    good = autoregressive(0.3, 200, 8)
    apart, drifting = good + torch.arange(8.0), good + torch.linspace(0, 4, 200)[:, None]
    assert float(split_rhat(good)) < 1.02
    assert float(split_rhat(apart)) > 1.5
    assert float(split_rhat(drifting)) > 1.2
    assert float(split_rhat(torch.ones(8, 4))) == 1.0
    stuck = torch.arange(8.0).expand(20, 8)  # no move was ever accepted
    assert float(split_rhat(stuck)) == math.inf
    with pytest.raises(UserError, match="two chains of four states"):
        split_rhat(good[:3])


def test_weights_are_worth_their_number_at_most():
    assert np.allclose(weight_size(torch.zeros(7, 2)), 7)
    assert float(weight_size(torch.tensor([[0.0], [-100.0]]))) == pytest.approx(1)
