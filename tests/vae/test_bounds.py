"""Bounds on linear-Gaussian data, where log p(x) and every divergence have closed forms, and what training does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.models.vae import VAE, vae
from pushforward.numerics.random import Draws
from pushforward.vae import (
    Diagonal,
    Elbo,
    FullCovariance,
    GaussianLikelihood,
    Importance,
    Joint,
    SharedScale,
    VampPrior,
    evidence,
    iaf_posterior,
    log_mean,
)
from pushforward.vae.posteriors import raw_of
from pushforward.verification.autoencoders import expected_elbo
from pushforward.verification.linear_gaussian import PCA, WORLD, Function

F64 = torch.float64


def wide() -> VAE:
    """The exact decoder with an independent posterior half as wide again as the best."""
    return WORLD.encoded(Diagonal(2), raw_of(1.5 * torch.tensor(np.diag(WORLD.precision)) ** -0.5))


# -- value ---------------------------------------------------------------------------------------------------------


def test_entropy_and_gap_of_the_oracle():
    assert WORLD.entropy == pytest.approx(7.8719, abs=1e-4)
    assert WORLD.gap == pytest.approx(0.0017432, abs=1e-7)
    x = WORLD.items(4000)
    assert float(WORLD.log_prob(x).mean()) == pytest.approx(-WORLD.entropy, abs=4 * math.sqrt(3 / 4000))


def test_the_loss_is_the_negative_bound():
    x, draws = WORLD.items(2000), Draws.of(0, range(2000))
    loss = WORLD.model(full=True).loss("loss", Batch(x), draws)
    # KL in closed form and one draw for the rest: right on average, with the exact posterior
    error = loss + WORLD.log_prob(x)
    assert abs(float(error.mean())) < 4 * float(error.std()) / math.sqrt(2000)


def test_a_learned_prior_equal_to_the_normal_gives_the_same_expectation():
    """log q − log p in place of the closed form."""
    x, draws = WORLD.items(4000), Draws.of(0, range(4000))
    model = wide()
    exact = model.terms(x, None, draws)
    joint = model.joint(x)
    drawn = Joint(joint.raw, joint.posterior, _Same(joint.prior), joint.log_likelihood).terms(draws)
    difference = drawn.elbo - exact.elbo
    assert drawn.divergence.shape == (4000, 1) and exact.divergence.shape == (4000, 2)
    assert float(difference.std()) > 0.1
    assert abs(float(difference.mean())) < 4 * float(difference.std()) / math.sqrt(4000)


class _Same:
    """A prior that does not say that it is a standard normal."""

    def __init__(self, prior):
        self.log_prob, self.sample = prior.log_prob, prior.sample


def test_importance_weights_are_not_averaged_bounds():
    log_w = wide().joint(WORLD.items(500)).log_weights(Draws.of(0, range(500)), range(50))
    assert float((log_mean(log_w) - log_w.mean(0)).mean()) > 0.3


def test_evidence_is_unbiased_on_the_scale_of_p_and_knows_its_error():
    count, k = 3000, 200
    x = WORLD.items(count)
    found = evidence(wide().joint(x), Draws.of(0, range(count)), k)
    error = found.value - WORLD.log_prob(x)
    assert 0.8 < float((error / found.standard_error).std()) < 1.2
    ratio = error.exp()  # w̄/p has the mean 1
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(count)
    assert float(found.effective.min()) > 1 and float(found.effective.max()) < k


def test_evidence_uses_exactly_as_many_draws_as_are_asked_for_however_it_is_cut():
    x, draws = WORLD.items(7), Draws.of(0, range(7))
    joint = wide().joint(x)
    expected = log_mean(joint.log_weights(draws, range(30)))
    for rows in (1, 7, 50, 10_000):
        torch.testing.assert_close(evidence(joint, draws, 30, rows=rows).value, expected)
    single = evidence(joint, draws, 1)
    torch.testing.assert_close(single.value, joint.log_weights(draws, [0])[0])
    assert bool(single.standard_error.isinf().all())
    with pytest.raises(UserError, match="at least 1; got 0"):
        evidence(joint, draws, 0)


def test_evidence_of_an_item_does_not_depend_on_its_batch():
    x, model = WORLD.items(6), wide()
    whole = model.log_prob_bound(x, None, Draws.of(3, range(6)), 20)[0]
    alone = model.log_prob_bound(x[4:5], None, Draws.of(3, [4]), 20)[0]
    torch.testing.assert_close(whole[4:5], alone)


# -- gradient ------------------------------------------------------------------------------------------------------


def small(posterior, bound, prior=None):
    torch.manual_seed(0)
    model = vae((6,), None, posterior=posterior, hidden=(8,), bound=bound, prior=prior).double()
    for i, p in enumerate(model.parameters()):
        p.data = p.data + 0.1 * Draws.of(i, [0], "stir").normal(p.shape, F64)[0]
    return model


@pytest.mark.parametrize("posterior", [Diagonal(2), FullCovariance(2), lambda: iaf_posterior(2, 1, (4,), 2)])
@pytest.mark.parametrize("bound", [Elbo(held=False), Elbo(2.0, held=False), Importance(4, doubly=False)])
def test_gradient_is_that_of_the_value(posterior, bound):
    """Against differences along a random direction through all parameters."""
    model = small(posterior() if callable(posterior) else posterior, bound)
    x, draws, parameters = Batch(WORLD.items(5)), Draws.of(0, range(5)), list(model.parameters())
    gradient = torch.autograd.grad(model.loss("loss", x, draws).sum(), parameters)
    direction = [Draws.of(9, [i]).normal(p.shape, F64)[0] for i, p in enumerate(parameters)]

    def value(step):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += step * d
            found = float(model.loss("loss", x, draws).sum())
            for p, d in zip(parameters, direction, strict=True):
                p -= step * d
        return found

    slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    assert slope == pytest.approx((value(1e-5) - value(-1e-5)) / 2e-5, rel=1e-6, abs=1e-6)


PAIRS = {
    "doubly": (Importance(4, doubly=False), Importance(4)),
    "held": (Elbo(held=False), Elbo()),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("prior", [None, "vamp"])
@pytest.mark.parametrize("posterior", [lambda: Diagonal(2), lambda: iaf_posterior(2, 1, (4,), 2)])
def test_gradients_of_less_noise_are_right_on_average(pair, posterior, prior):
    """Their mean over many draws is that of the plain ones in every parameter; the decoder's are equal draw by draw."""
    copies = 3000
    model = small(posterior(), Elbo(), VampPrior(WORLD.items(3).float()) if prior else None)
    x = WORLD.items(1).repeat(copies, 1)

    def gradients(bound):
        model.bound = bound
        loss = model.loss("loss", Batch(x), Draws.of(0, range(copies))).view(30, -1).mean(1)
        each = [torch.autograd.grad(one, list(model.parameters()), retain_graph=True) for one in loss]
        return [torch.stack(parts) for parts in zip(*each, strict=True)]

    plain, other = (gradients(bound) for bound in PAIRS[pair])
    decoder = {id(p) for p in model.decoder.parameters()}
    differs = 0
    for p, a, b in zip(model.parameters(), plain, other, strict=True):
        difference = (a - b).reshape(30, -1)
        if id(p) in decoder:
            torch.testing.assert_close(a, b)
            continue
        error = difference.std(0) / math.sqrt(len(difference))
        assert bool((difference.mean(0).abs() <= 5 * error + 1e-12).all())
        differs += float(difference.abs().max()) > 1e-9
    closed = pair == "held" and prior is None and isinstance(model.posterior, Diagonal)
    assert bool(differs) is not closed


def test_value_of_the_doubly_reparametrised_loss_is_the_bound():
    model = small(iaf_posterior(2, 1, (4,), 2), Importance(4))
    x, draws = WORLD.items(5), Draws.of(0, range(5))
    expected = -log_mean(model.joint(x).log_weights(draws, range(4)))
    torch.testing.assert_close(model.loss("loss", Batch(x), draws), expected)
    with torch.no_grad():
        torch.testing.assert_close(model.loss("loss", Batch(x), draws), expected)


# -- what is done to the divergence --------------------------------------------------------------------------------


def losses(bound, training, first=0):
    model = wide()
    x = WORLD.items(6)
    model.bound = bound
    model.train(training)
    return model.loss("loss", Batch(x), Draws.of(0, range(first, first + 6))), model.joint(x).terms(
        Draws.of(0, range(first, first + 6))
    )


def test_beta_weighs_the_divergence_alone():
    found, terms = losses(Elbo(3.0), training=True)
    torch.testing.assert_close(found, 3 * terms.divergence.sum(1) - terms.log_likelihood)


def test_warm_up_is_a_function_of_the_items_number_and_of_nothing_else():
    found, terms = losses(Elbo(2.0, warmup=200), training=True, first=97)
    weight = 2 * torch.arange(97, 103) / 200
    torch.testing.assert_close(found, weight * terms.divergence.sum(1) - terms.log_likelihood)
    late, terms = losses(Elbo(2.0, warmup=200), training=True, first=1000)
    torch.testing.assert_close(late, 2 * terms.divergence.sum(1) - terms.log_likelihood)
    scored, terms = losses(Elbo(2.0, warmup=200), training=False)
    torch.testing.assert_close(scored, 2 * terms.divergence.sum(1) - terms.log_likelihood)


def test_free_bits_hold_up_the_batch_mean_of_each_latent():
    _, terms = losses(Elbo(), training=True)
    means = terms.divergence.mean(0)
    floor = float(means.mean())  # between the two
    found, _ = losses(Elbo(free_bits=floor), training=True)
    expected = float(means.clamp(min=floor).sum() - terms.log_likelihood.mean())
    assert float(found.mean()) == pytest.approx(expected)
    scored, _ = losses(Elbo(free_bits=floor), training=False)
    torch.testing.assert_close(scored, -terms.elbo)


def test_free_bits_give_no_gradient_below_their_floor():
    raw = WORLD.model(full=False).joint(WORLD.items(4)).raw.clone().requires_grad_()
    joint = wide().joint(WORLD.items(4))
    free = Joint(raw, joint.posterior, joint.prior, lambda z, k: torch.zeros(len(z), dtype=F64))
    loss = Elbo(free_bits=1e3)(free, Draws.of(0, range(4)), training=True).nats
    assert torch.autograd.grad(loss.sum(), raw, allow_unused=True)[0].abs().max() == 0
    torch.testing.assert_close(loss, torch.full((4,), 2e3, dtype=F64))


@pytest.mark.parametrize("make", [lambda: Elbo(-1.0), lambda: Elbo(warmup=-1), lambda: Elbo(free_bits=math.inf)])
def test_bounds_refuse_negative_numbers(make):
    with pytest.raises(UserError, match="must be a number of at least 0"):
        make()


def test_no_draws_are_refused():
    with pytest.raises(UserError, match="at least one draw; got 0"):
        Importance(0)


# -- learning ------------------------------------------------------------------------------------------------------


def test_a_linear_model_learns_the_discarded_eigenvalues():
    """Trained from a random start, σ² becomes their mean and W spans the leading ones (Tipping & Bishop 1999)."""
    torch.manual_seed(0)
    x = WORLD.items(300)
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    posterior = FullCovariance(2)
    encoder, decoder = torch.nn.Linear(6, posterior.outputs), torch.nn.Linear(2, 6)
    model = VAE(encoder, decoder, posterior, GaussianLikelihood(SharedScale(1.0)), (6,)).double()
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=600, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def closure():
        optimiser.zero_grad()
        loss = -expected_elbo(model.joint(x), 300).mean()
        loss.backward()
        return loss

    loss = float(optimiser.step(closure).detach())
    loss = float(closure().detach())
    variance = float(model.likelihood.spread.log_scale.detach().exp()) ** 2
    assert variance == pytest.approx(float(values[:4].mean()), rel=1e-4)
    w = decoder.weight.detach().numpy()
    leading = vectors[:, 4:] * np.sqrt(values[4:] - values[:4].mean())
    np.testing.assert_allclose(w @ w.T, leading @ leading.T, atol=1e-3)
    best = PCA(leading, float(values[:4].mean()))
    assert loss == pytest.approx(-float(best.log_prob(x).mean()), abs=1e-6)


def test_networks_see_the_masks_of_their_own_rows():
    """Dropout in a decoder that is called for k draws per item has a mask for each."""
    from pushforward.numerics.dropout import Dropout, counted

    model = wide()
    w = torch.tensor(WORLD.loadings)
    model.decoder = torch.nn.Sequential(Function(lambda z: z @ w.T), Dropout(0.5))
    model.bound = Importance(3)
    model.train()
    draws = Draws.of(0, range(4))
    with counted(draws):
        loss = model.loss("loss", Batch(WORLD.items(4)), draws)
    assert loss.shape == (4,) and torch.isfinite(loss).all()
