"""Posteriors: densities that are those of their samples, and divergences against sums over both densities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import UserError
from pushforward.flows import Mixture, StandardGaussian
from pushforward.numerics.random import Draws
from pushforward.vae import (
    Diagonal,
    FlowPosterior,
    FullCovariance,
    VampPrior,
    aggregate,
    flow_prior,
    iaf_posterior,
    mixture_prior,
)
from pushforward.vae.posteriors import LIMIT, log_scale, raw_of

F64 = torch.float64


def stirred(posterior, size=0.3):
    """Its own weights away from the identity they start at."""
    if isinstance(posterior, FlowPosterior):
        posterior.double()
        for i, p in enumerate(posterior.parameters()):
            p.data = size * Draws.of(i, [0], "weights").normal(p.shape, F64)[0]
    return posterior


MAKERS = {"diagonal": Diagonal, "full": FullCovariance, "iaf": lambda d: stirred(iaf_posterior(d, 2, (8,), 3))}


def rows(posterior, count, seed=0, size=0.7):
    return size * Draws.of(seed, range(count), "raw").normal((posterior.outputs,), F64)


@pytest.mark.parametrize("name", MAKERS)
@given(latent=st.integers(1, 5), seed=st.integers(0, 1000))
def test_samples_carry_their_density(name, latent, seed):
    posterior = MAKERS[name](latent)
    raw = rows(posterior, 7, seed)
    z, log_q = posterior.sample(raw, Draws.of(seed, range(7)))
    assert z.shape == (7, latent)
    torch.testing.assert_close(posterior.log_prob(z, raw), log_q, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(posterior.held_log_prob(z, raw), log_q, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(posterior.pairwise(z, raw).diag(), log_q, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", MAKERS)
def test_pairs_are_every_latent_under_every_row(name):
    posterior = MAKERS[name](3)
    raw, z = rows(posterior, 4), Draws.of(1, range(5)).normal((3,), F64)
    found = posterior.pairwise(z, raw)
    for i in range(5):
        torch.testing.assert_close(found[i], posterior.log_prob(z[i].expand(4, -1), raw), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MAKERS)
def test_density_integrates_to_one(name):
    posterior = MAKERS[name](2)
    axis = torch.linspace(-14, 14, 281, dtype=F64)
    mass = (
        posterior.pairwise(torch.cartesian_prod(axis, axis), rows(posterior, 1)).exp().sum()
        * float(axis[1] - axis[0]) ** 2
    )
    assert float(mass.detach()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["diagonal", "full"])
def test_divergence_in_closed_form_is_the_sum_over_the_plane(name):
    posterior = MAKERS[name](2)
    raw = rows(posterior, 3, size=0.3)
    axis = torch.linspace(-12, 12, 401, dtype=F64)
    z = torch.cartesian_prod(axis, axis)
    log_q = posterior.pairwise(z, raw)
    each = log_q.exp() * (log_q - StandardGaussian((2,)).double().log_prob(z)[:, None])
    assert posterior.divergence(raw).shape[1] == (2 if name == "diagonal" else 1)
    torch.testing.assert_close(posterior.divergence(raw).sum(1), each.sum(0) * float(axis[1] - axis[0]) ** 2)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_with_q_held_reach_only_z(name):
    posterior = MAKERS[name](3)
    raw = rows(posterior, 4).requires_grad_()
    z = Draws.of(0, range(4)).normal((3,), F64).requires_grad_()
    posterior.held_log_prob(z, raw).sum().backward()
    assert raw.grad is None and z.grad is not None
    own = posterior.parameters() if isinstance(posterior, FlowPosterior) else ()
    assert all(p.grad is None for p in own)
    z2 = z.detach().clone().requires_grad_()
    posterior.log_prob(z2, raw.detach()).sum().backward()
    torch.testing.assert_close(z.grad, z2.grad)


def test_full_covariance_has_the_covariance_of_its_factor():
    posterior, count = FullCovariance(2), 40_000
    factor = torch.tensor([[0.5, 0.0], [0.8, 2.0]], dtype=F64)
    raw = posterior.numbers(torch.tensor([[1.0, -2.0]], dtype=F64).expand(count, -1), factor)
    z = posterior.sample(raw, Draws.of(0, range(count))).z
    torch.testing.assert_close(z.T.cov(), factor @ factor.T, atol=0.06, rtol=0)
    torch.testing.assert_close(z.mean(0), torch.tensor([1.0, -2.0], dtype=F64), atol=0.05, rtol=0)


def test_a_flow_posterior_starts_as_the_diagonal_one():
    flow, plain = iaf_posterior(4, context=2).double(), Diagonal(4)
    raw = rows(flow, 6)
    draws = Draws.of(0, range(6))
    for found, expected in zip(flow.sample(raw, draws), plain.sample(raw[:, :8], draws), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(flow.centre(raw), plain.centre(raw[:, :8]))
    assert flow.divergence(raw) is None


def test_scales_are_what_they_say_and_never_overflow():
    scale = torch.tensor([0.01, 1.0, 30.0], dtype=F64)
    torch.testing.assert_close(log_scale(raw_of(scale)).exp(), scale)
    assert float(log_scale(torch.tensor(1e30))) == LIMIT
    z, log_q = Diagonal(1).sample(torch.tensor([[0.0, 1e20], [1e20, -1e20]]), Draws.of(0, range(2)))
    assert torch.isfinite(z).all() and torch.isfinite(log_q).all()


def test_sample_depends_on_its_key_alone():
    posterior = Diagonal(3)
    raw = rows(posterior, 5)
    whole = posterior.sample(raw, Draws.of(0, range(5))).z
    part = posterior.sample(raw[3:4], Draws.of(0, [3])).z
    torch.testing.assert_close(whole[3:4], part)


@pytest.mark.parametrize("make", [Diagonal, FullCovariance, iaf_posterior, mixture_prior, flow_prior])
def test_no_latent_is_refused(make):
    with pytest.raises(UserError, match="at least one dimension; its size was given as 0"):
        make(0)


# -- priors --------------------------------------------------------------------------------------------------------


def test_a_mixture_of_posteriors_is_their_average():
    posterior = Diagonal(2)
    prior = VampPrior(torch.zeros(3, 4))
    prior.log_weights.data = torch.tensor([0.0, math.log(2), math.log(5)])
    raw = rows(posterior, 3)
    z = Draws.of(0, range(6)).normal((2,), F64)
    found = prior.given(raw, posterior).log_prob(z)
    mean, scale = raw[:, :2], log_scale(raw[:, 2:]).exp()
    expected = Mixture(mean, scale, torch.tensor([1.0, 2.0, 5.0], dtype=F64)).log_prob(z)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_mixture_of_posteriors_is_sampled_by_its_weights():
    posterior, count = Diagonal(1), 20_000
    raw = torch.tensor([[-10.0, 0.0], [10.0, 0.0]], dtype=F64)
    prior = VampPrior(torch.zeros(2, 1))
    prior.log_weights.data = torch.tensor([0.0, math.log(3)])
    z = prior.given(raw, posterior).sample(Draws.of(0, range(count)))
    assert float((z > 0).double().mean()) == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / count))
    assert float(z[z > 0].std()) == pytest.approx(1, abs=0.03)


def test_aggregate_posterior_has_equal_weights():
    posterior, raw = Diagonal(2), rows(Diagonal(2), 4)
    z = Draws.of(0, range(3)).normal((2,), F64)
    expected = posterior.pairwise(z, raw).exp().mean(1).log()
    torch.testing.assert_close(aggregate(raw, posterior).log_prob(z), expected)


def test_learned_priors_have_the_shape_of_the_latents():
    z = Draws.of(0, range(4)).normal((3,))
    for prior in (mixture_prior(3, 5), flow_prior(3)):
        assert prior.log_prob(z).shape == (4,) and prior.sample(Draws.of(0, range(4))).shape == (4, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VampPrior(torch.zeros(0, 3)), "at least one pseudo-item"),
        (lambda: VampPrior(torch.zeros(4, 3), torch.zeros(3, dtype=torch.int64)), "one label for each"),
        (lambda: mixture_prior(2, 0), "at least one component; got 0"),
    ],
)
def test_priors_refuse_what_is_none(make, words):
    with pytest.raises(UserError, match=words):
        make()
