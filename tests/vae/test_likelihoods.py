"""Likelihoods: densities that integrate to one, probabilities that sum to one, samples that follow them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.vae import (
    NORMAL,
    Bernoulli,
    Categorical,
    DiscretisedLikelihood,
    EachScale,
    GaussianLikelihood,
    SharedScale,
    logistic_interval,
)

F64 = torch.float64


def steps(bins):
    return torch.linspace(-1, 1, bins, dtype=F64)[:, None]


def likelihoods(bins=5):
    """All that give probabilities to `bins` values, with a decoder's numbers for one item of one coordinate."""
    return {
        "logistic": (DiscretisedLikelihood(SharedScale(0.2).double(), bins=bins), [0.3]),
        "logistic, each": (DiscretisedLikelihood(EachScale(), bins=bins), [0.3, -2.0]),
        "normal": (DiscretisedLikelihood(SharedScale(0.2).double(), bins=bins, noise=NORMAL), [-0.9]),
        "categorical": (Categorical(bins=bins), [0.3, -1.0, 2.0, 0.0, 0.5][:bins]),
        **({"bernoulli": (Bernoulli(), [0.7])} if bins == 2 else {}),
    }


CASES = [(name, bins) for bins in (2, 5) for name in likelihoods(bins)]


@pytest.mark.parametrize(("name", "bins"), CASES)
def test_probabilities_sum_to_one_and_samples_follow_them(name, bins):
    likelihood, numbers = likelihoods(bins)[name]
    raw = torch.tensor([numbers], dtype=F64)
    p = likelihood.log_prob(steps(bins), raw.expand(bins, -1)).exp().detach()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    count = 20_000
    drawn = likelihood.sample(raw.expand(count, -1), Draws.of(0, range(count)))
    likelihood.check(drawn)
    found = torch.stack([(drawn - v).abs() < 1e-6 for v in steps(bins)]).double().mean((1, 2))
    assert stats.chisquare((found * count).numpy(), (p * count).numpy()).pvalue > 1e-3
    assert likelihood.discrete


@pytest.mark.parametrize("name", ["categorical", "bernoulli"])
def test_mean_is_the_mean_of_the_values(name):
    likelihood, numbers = likelihoods(2)[name]
    raw = torch.tensor([numbers], dtype=F64)
    p = likelihood.log_prob(steps(2), raw.expand(2, -1)).exp()
    assert float(likelihood.mean(raw)) == pytest.approx(float(p @ steps(2)[:, 0]))


@pytest.mark.parametrize("spread", [SharedScale(0.7), SharedScale(0.7, learned=False), EachScale()])
def test_gaussian_is_a_density_with_its_constant(spread):
    likelihood = GaussianLikelihood(spread)
    if isinstance(spread, SharedScale):
        spread.double()
    raw = torch.tensor([[0.4] if likelihood.count == 1 else [0.4, 1.3]], dtype=F64)
    x = torch.linspace(-30, 30, 6001, dtype=F64)[:, None]
    density = likelihood.log_prob(x, raw.expand(len(x), -1)).exp().detach()
    assert float(density.sum()) * 0.01 == pytest.approx(1, abs=1e-8)
    drawn = likelihood.sample(raw.expand(20_000, -1), Draws.of(0, range(20_000))).detach()
    variance = float((density @ (x - 0.4).square()[:, 0]) * 0.01)
    assert float(drawn.mean()) == pytest.approx(0.4, abs=0.05)
    assert float(drawn.var()) == pytest.approx(variance, rel=0.05)
    assert float(likelihood.mean(raw)) == 0.4


@pytest.mark.parametrize(
    "likelihood", [GaussianLikelihood(), Bernoulli(), DiscretisedLikelihood(bins=2), Categorical(bins=2)]
)
def test_the_sum_is_over_coordinates(likelihood):
    """Twice the pixels are twice the nats: a mean would make β a function of the image's size."""
    x = torch.sign(Draws.of(0, range(3)).normal((1, 4, 4)))
    raw = Draws.of(1, range(3)).normal((likelihood.count, 4, 4))
    once = likelihood.log_prob(x, raw)
    twice = likelihood.log_prob(torch.cat((x, x), 2), torch.cat((raw, raw), 2))
    torch.testing.assert_close(twice, 2 * once)
    assert once.shape == (3,)


def test_blocks_of_a_colour_image_belong_to_their_coordinates():
    """Moving the numbers of one coordinate moves its log-probability alone."""
    for likelihood in (
        Categorical(bins=3),
        GaussianLikelihood(EachScale()),
        DiscretisedLikelihood(EachScale(), bins=3),
    ):
        x, raw = torch.zeros(1, 2, 2, 2), Draws.of(0, [0]).normal((2 * likelihood.count, 2, 2)).requires_grad_()
        part = likelihood.log_prob(x[:, :1], raw.unflatten(1, (likelihood.count, 2))[:, :, 0])
        rest = likelihood.log_prob(x[:, 1:], raw.unflatten(1, (likelihood.count, 2))[:, :, 1])
        torch.testing.assert_close(likelihood.log_prob(x, raw), part + rest)
        assert likelihood.mean(raw).shape == x.shape


@given(st.floats(-200, 200), st.floats(1e-3, 50))
def test_logistic_interval_in_both_tails(a, width):
    a, b = torch.tensor(a, dtype=F64), torch.tensor(a + width, dtype=F64)
    found = float(logistic_interval(a, b))
    assert math.isfinite(found)
    flip = float(a + b) > 0
    low, high = (-float(b), -float(a)) if flip else (float(a), float(b))
    expected = stats.logistic.logcdf(high) + math.log(
        -math.expm1(stats.logistic.logcdf(low) - stats.logistic.logcdf(high))
    )
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_gradients_stay_finite_at_the_open_ends_and_far_away():
    likelihood = DiscretisedLikelihood(EachScale(), bins=17)
    raw = torch.tensor([[0.0, -9.0], [50.0, -9.0], [-50.0, 3.0], [1.0, 0.0]], requires_grad=True)
    x = torch.tensor([[-1.0], [-1.0], [1.0], [0.5]])
    likelihood.log_prob(x, raw).sum().backward()
    assert torch.isfinite(raw.grad).all() and bool((raw.grad[1:, 0] != 0).all())


def test_a_learned_scale_finds_the_spread_of_what_is_left():
    """σ² → the mean square error: the closed form of a shared scale's optimum."""
    likelihood = GaussianLikelihood(SharedScale(1.0)).double()
    x, raw = 0.3 * Draws.of(0, range(400)).normal((5,), F64), torch.zeros(400, 5, dtype=F64)
    likelihood.spread.log_scale.data.fill_(0.5 * math.log(float(x.square().mean())))
    likelihood.log_prob(x, raw).sum().backward()
    assert abs(float(likelihood.spread.log_scale.grad)) < 1e-9 * x.numel()


@pytest.mark.parametrize(
    ("likelihood", "x", "words"),
    [
        (Bernoulli(), 0.3, "takes the two values -1 and 1, and an item holds 0.3: binarise"),
        (Bernoulli(0.0, 1.0), -1.0, "takes the two values 0 and 1, and an item holds -1"),
        (Categorical(bins=3), 0.4, "0.4 is none of the 3 values from -1 to 1"),
        (DiscretisedLikelihood(bins=256), 3.0, "3 is none of the 256 values"),
    ],
)
def test_values_without_a_probability_are_refused(likelihood, x, words):
    with pytest.raises(UserError, match=words):
        likelihood.check(
            torch.tensor([[-1.0, x, 1.0]]) if likelihood != Bernoulli(0.0, 1.0) else torch.tensor([[0.0, x]])
        )


def test_bytes_are_values_of_256_steps():
    DiscretisedLikelihood().check(torch.arange(256)[None].float() / 127.5 - 1)
    GaussianLikelihood().check(torch.tensor([[1e9]]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SharedScale(0.0), "scale of a decoder must be a positive number; got 0"),
        (lambda: EachScale(-1.0), "lowest scale of a decoder must be a positive number; got -1"),
        (lambda: Categorical(bins=1), "at least two of them"),
        (lambda: DiscretisedLikelihood(low=1.0, high=0.0), "need low < high"),
        (lambda: Bernoulli(2.0, 2.0), "need low < high"),
    ],
)
def test_rules_refuse_what_is_none(make, words):
    with pytest.raises(UserError, match=words):
        make()
