"""The variational autoencoder as a family: shapes, draws, labels, the engine, and what it refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.models.family import Family, HasDensity
from pushforward.models.vae import EVIDENCE_SAMPLES, VAE, vae
from pushforward.networks.perceptron import Perceptron
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, fit
from pushforward.vae import (
    Bernoulli,
    Categorical,
    Diagonal,
    DiscretisedLikelihood,
    EachScale,
    Elbo,
    FullCovariance,
    GaussianLikelihood,
    Importance,
    SharedScale,
    VampPrior,
    flow_prior,
    iaf_posterior,
    mixture_prior,
)

POSTERIORS = {"diagonal": Diagonal, "full": FullCovariance, "iaf": lambda d: iaf_posterior(d, 1, (8,), 4)}
LIKELIHOODS = {
    "gaussian": GaussianLikelihood,
    "each": lambda: GaussianLikelihood(EachScale()),
    "bernoulli": Bernoulli,
    "categorical": lambda: Categorical(bins=2),
    "logistic": lambda: DiscretisedLikelihood(bins=2),
}
PRIORS = {
    "normal": lambda shape: None,
    "mixture": lambda shape: mixture_prior(3, 4),
    "flow": lambda shape: flow_prior(3),
    "vamp": lambda shape: VampPrior(torch.zeros(2, *shape), torch.arange(2)),
}
BOUNDS = {"elbo": Elbo(0.5, 100, 0.1), "iwae": Importance(2, doubly=False), "doubly": Importance(2)}


@given(*(st.sampled_from(list(names)) for names in (POSTERIORS, LIKELIHOODS, PRIORS, BOUNDS)), st.booleans())
def test_any_parts_go_together(posterior, likelihood, prior, bound, image):
    shape = (2, 5, 7) if image else (4,)
    model = vae(
        shape,
        posterior=POSTERIORS[posterior](3),
        likelihood=LIKELIHOODS[likelihood](),
        prior=PRIORS[prior](shape),
        bound=BOUNDS[bound],
        hidden=None if image else (8,),
        width=4,
        num_classes=2,
    )
    draws, labels = Draws.of(0, range(5)), torch.tensor([0, 1, 0, 1, 1])
    x = torch.sign(draws.normal(shape))
    loss = model.loss("loss", Batch(x, labels), draws)
    assert loss.shape == (5,)
    loss.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad():
        made = model.draw(draws, labels)
        value, error = model.log_prob_bound(x, labels, draws, 4)
    assert made.shape == x.shape and value.shape == error.shape == (5,) and value.dtype == torch.float64
    assert model.reconstruct(x, labels).shape == model.reconstruct(x, labels, draws).shape == x.shape
    assert model.discrete is (likelihood not in ("gaussian", "each"))
    if model.discrete:
        model.likelihood.check(made)


def test_it_is_a_family_with_a_density():
    model = vae((3,), 2)
    assert isinstance(model, Family) and isinstance(model, HasDensity)
    found = model.density(torch.zeros(2, 3), None, Draws.of(0, range(2)))
    value, error = model.log_prob_bound(torch.zeros(2, 3), None, Draws.of(0, range(2)), EVIDENCE_SAMPLES)
    torch.testing.assert_close(found.nats, value)
    torch.testing.assert_close(found.standard_error, error)
    assert "100 draws" in found.method and "bound" in found.of


def test_log_prob_of_discrete_data_is_a_probability():
    """Σ over all values of p(x) = 1, for two pixels of three values: the bound's estimate of each, with many draws."""
    torch.manual_seed(0)
    model = vae((2,), 1, likelihood=Categorical(bins=3), hidden=(4,)).double()
    axis = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    value, error = model.log_prob_bound(x, None, Draws.of(0, range(9)), 4000)
    p = value.exp()
    assert abs(float(p.sum()) - 1) < 4 * float((p * error).square().sum().sqrt())


def test_draws_are_those_of_the_density_that_is_scored():
    """x ~ model over two binary pixels, against p(x) by importance sampling."""
    torch.manual_seed(1)
    model = vae((2,), 1, likelihood=Bernoulli(), hidden=(8,)).double()
    for p in model.decoder.parameters():
        p.data *= 4
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    p = model.log_prob_bound(x, None, Draws.of(0, range(4)), 4000)[0].exp()
    count = 20_000
    with torch.no_grad():
        made = model.draw(Draws.of(0, range(count)))
    shares = torch.stack([(made == row).all(1).double().mean() for row in x])
    assert float((shares - p).abs().max()) < 5 * math.sqrt(0.25 / count) + 0.01
    assert float((shares - 0.25).abs().max()) > 0.05


def test_a_draw_depends_on_its_key_alone_and_noise_can_be_left_out():
    model = vae((3,), 2, likelihood=GaussianLikelihood(SharedScale(0.5)), noise=False)
    draws = Draws.of(0, range(4))
    with torch.no_grad():
        means = model.draw(draws)
        torch.testing.assert_close(model.draw(draws[2:3]), means[2:3])
        torch.testing.assert_close(means, model.decode(model.prior_density().sample(draws.at("prior"))))
        model.noise = True
        noisy = model.draw(draws)
        torch.testing.assert_close(model.draw(draws[2:3]), noisy[2:3])
    assert float((noisy - means).detach().std()) == pytest.approx(0.5, rel=0.5)


def test_labels_matter():
    torch.manual_seed(0)
    model = vae((1, 8, 8), 2, num_classes=3, width=4)
    z = torch.zeros(3, 2)
    images = model.decode(z, torch.arange(3))
    assert float((images[0] - images[1]).detach().abs().max()) > 1e-3
    codes = model.encode(images[:1].detach().repeat(3, 1, 1, 1), torch.arange(3))
    assert float((codes[0] - codes[1]).detach().abs().max()) > 1e-4


def test_traversal_moves_one_latent_at_a_time():
    torch.manual_seed(0)
    model = vae((4,), 3, hidden=(8,))
    z = torch.tensor([0.1, 0.2, 0.3])
    found = model.traversal(z, [-2.0, 0.2], [1, 2])
    assert found.shape == (2, 2, 4)
    torch.testing.assert_close(found[0, 0], model.decode(torch.tensor([[0.1, -2.0, 0.3]]))[0])
    torch.testing.assert_close(found[0, 1], model.decode(z[None])[0])
    torch.testing.assert_close(found[1, 1], model.decode(torch.tensor([[0.1, 0.2, 0.2]]))[0])
    conditional = vae((4,), 3, hidden=(8,), num_classes=2)
    torch.testing.assert_close(
        conditional.traversal(z, [0.3], [2], label=1)[0, 0], conditional.decode(z[None], torch.tensor([1]))[0]
    )
    for bad in (
        lambda: model.traversal(z, [], [0]),
        lambda: model.traversal(z, [0.0], [3]),
        lambda: model.traversal(z[:2], [0.0], [0]),
    ):
        with pytest.raises(UserError, match="needs one z of 3 numbers"):
            bad()


# -- the engine ----------------------------------------------------------------------------------------------------


class Points:
    """Items on a noisy circle."""

    def __init__(self, count):
        draws = Draws.of(0, range(count), "points")
        angle = 2 * math.pi * draws.at("angle").uniform((1,))
        self.values = torch.cat((angle.cos(), angle.sin()), 1) + 0.1 * draws.at("noise").normal((2,))

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        return Batch(self.values[torch.as_tensor(indices)])


def small(bound):
    torch.manual_seed(0)
    return vae((2,), 2, hidden=(16,), bound=bound, likelihood=GaussianLikelihood(SharedScale(0.5)))


def recipe(**changes):
    base = {"batch_size": 32, "steps": 30, "validate_every": 10, "save_every": 10, "save_seconds": None, "log_every": 5}
    return Recipe(**{**base, "warmup_steps": 5, "device": "cpu", "learning_rate": 1e-2, "clip_norm": None, **changes})


def test_a_run_that_is_resumed_in_the_middle_of_its_warm_up_is_exact(tmp_path):
    bound = Elbo(1.0, warmup=800, free_bits=0.01)
    whole = small(bound)
    fit(whole, Points(100), Points(40), recipe(), tmp_path / "whole", {})

    class Stop(Exception):
        pass

    broken, taken = small(bound), []

    def stopping(objective, batch, draws, own=broken.loss):
        taken.append(len(draws))
        if len(taken) == 17:
            raise Stop
        return own(objective, batch, draws)

    broken.loss = stopping
    with pytest.raises(Stop):
        fit(broken, Points(100), Points(40), recipe(), tmp_path / "broken", {})
    resumed = small(bound)
    fit(resumed, Points(100), Points(40), recipe(), tmp_path / "broken", {})
    for (name, a), b in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_training_lowers_the_bound_and_tells_its_parts(tmp_path):
    model, items = small(Elbo()), Points(400)
    draws = Draws.of(0, range(100), "check")

    def value():
        with torch.no_grad():
            return -float(model.log_prob_bound(items.values[:100], None, draws, 50)[0].mean())

    before = value()
    fit(model, items, None, recipe(steps=150, log_every=1), tmp_path / "run", {})
    assert value() < before - 0.2
    entry = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert entry["loss"] == pytest.approx(entry["figures"]["divergence"] - entry["figures"]["log_likelihood"], rel=1e-4)


def test_importance_weighted_training_tells_how_many_draws_count():
    model = small(Importance(8))
    model.loss("loss", Batch(Points(10).values), Draws.of(0, range(10)))
    effective = model.figures()["effective_draws"]
    assert effective.shape == (10,) and bool(((effective >= 1) & (effective <= 8)).all())


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_networks_in_bfloat16_are_read_in_full_precision(posterior):
    torch.manual_seed(0)
    model = vae((1, 8, 8), posterior=POSTERIORS[posterior](3), likelihood=Bernoulli(), hidden=(16,))
    draws = Draws.of(0, range(64))
    x = torch.sign(draws.normal((1, 8, 8)))
    full = model.loss("loss", Batch(x), draws)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.loss("loss", Batch(x), draws)
    assert half.dtype == torch.float32
    assert float((half - full).detach().abs().max()) < 0.3  # of some 45 nats, with 0.4 % of precision in each product
    assert abs(float((half - full).detach().mean())) < 0.05


# -- what is refused -----------------------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_are_refused():
    x = torch.zeros(3, 2)
    x[1, 0] = math.nan
    with pytest.raises(UserError, match="The batch holds nan at sample 1, entry 0"):
        small(Elbo()).loss("loss", Batch(x), Draws.of(0, range(3)))
    with pytest.raises(UserError, match="holds nan"):
        small(Elbo()).encode(x)


def test_grey_levels_are_refused_by_a_bernoulli_decoder():
    model = vae((1, 4, 4), 2, likelihood=Bernoulli(), hidden=(4,))
    with pytest.raises(UserError, match=r"takes the two values -1 and 1, and an item holds 0\.5"):
        model.loss("loss", Batch(torch.full((2, 1, 4, 4), 0.5)), Draws.of(0, range(2)))


def test_missing_and_unknown_labels_are_refused():
    model = vae((2,), 2, num_classes=3)
    x, draws = torch.zeros(2, 2), Draws.of(0, range(2))
    with pytest.raises(UserError, match="conditional on labels and this batch has none"):
        model.loss("loss", Batch(x), draws)
    with pytest.raises(UserError, match="conditional on 3 classes, and no labels were given"):
        model.draw(draws)
    with pytest.raises(UserError, match="expected 0 … 2"):
        model.draw(draws, torch.tensor([0, 3]))
    with pytest.raises(UserError, match="trained without labels"):
        vae((2,), 2).log_prob_bound(x, torch.tensor([0, 1]), draws)


def test_networks_that_do_not_fit_are_refused():
    encoder, decoder = Perceptron((2,), (4,), (8,)), Perceptron((2,), (2,), (8,))
    x, draws = torch.zeros(2, 2), Draws.of(0, range(2))
    too_many = VAE(encoder, decoder, FullCovariance(2), GaussianLikelihood(), (2,))
    with pytest.raises(
        UserError, match=r"gives numbers of shape \(2, 4\), and this posterior of 2 latents reads \(2, 5\)"
    ):
        too_many.loss("loss", Batch(x), draws)
    too_few = VAE(encoder, decoder, Diagonal(2), GaussianLikelihood(EachScale()), (2,))
    with pytest.raises(
        UserError, match=r"gives numbers of shape \(2, 2\), and this likelihood of items \(2,\) reads \(2, 4\)"
    ):
        too_few.loss("loss", Batch(x), draws)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: vae((2,), 0), "its size was given as 0"),
        (lambda: vae((2,), 3, posterior=Diagonal(2)), "3 latents were asked for, but the posterior has 2"),
    ],
)
def test_sizes_that_are_none_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_plain_networks_of_the_users_own_will_do():
    model = VAE(nn.Linear(3, 4), nn.Linear(2, 3), Diagonal(2), GaussianLikelihood(), (3,))
    assert model.loss("loss", Batch(torch.zeros(2, 3)), Draws.of(0, range(2))).shape == (2,)
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize(("shape", "latent"), [((2,), 2), ((100,), 10), ((3, 64, 64), 32)])
def test_usual_number_of_latents(shape, latent):
    assert vae(shape, width=4).posterior.latent == latent
