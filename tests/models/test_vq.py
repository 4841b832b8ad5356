"""The vector-quantised autoencoder: its codes, the law of its codes, and the engine."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.models.family import Family, HasDensity
from pushforward.models.vq import vq
from pushforward.networks.causal import CausalCodes
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, fit
from pushforward.vae import Bernoulli, EachScale, GaussianLikelihood

F64 = torch.float64


class Blobs:
    """Images of one of three shades per half, with a little noise, and which of them as a label."""

    shape = (1, 8, 8)

    def __init__(self, count):
        draws = Draws.of(0, range(count), "blobs")
        self.labels = draws.at("label").integers(3)
        shade = torch.tensor([-0.8, 0.0, 0.8])
        halves = torch.stack((shade[self.labels], shade[draws.at("other").integers(3)]), 1)
        self.values = halves[:, None, None].repeat_interleave(4, 3).expand(-1, 1, 8, 8)
        self.values = self.values + 0.02 * draws.at("noise").normal(self.shape)

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        indices = torch.as_tensor(indices)
        return Batch(self.values[indices], self.labels[indices])


def recipe(**changes):
    base = {"batch_size": 32, "steps": 24, "save_every": 8, "save_seconds": None, "log_every": 10}
    return Recipe(**{**base, "warmup_steps": 5, "device": "cpu", "learning_rate": 3e-3, "clip_norm": None, **changes})


def small(**changes):
    torch.manual_seed(0)
    return vq((1, 8, 8), **{"codes": 16, "dim": 4, "width": 8, "levels": 2, "num_classes": 3, **changes})


def test_training_reconstructs_and_learns_what_codes_are_likely(tmp_path):
    items, model = Blobs(200), small()
    x, labels = items.values[:50], items.labels[:50]
    fit(model, items, None, recipe(steps=100), tmp_path / "run", {})
    model.eval()
    with torch.no_grad():
        rest = (model.reconstruct(x, labels) - x).square().mean()
        log_p = model.log_prior(model.encode(x), labels)
        made = model.draw(Draws.of(0, range(60)), torch.arange(60) % 3)
    assert float(rest) < 0.1 * float(x.var())
    # two halves, three shades each, one given by the label: far fewer nats than four codes of sixteen
    assert float(log_p.mean()) > -0.6 * 4 * math.log(16)
    left = made[:, 0, :, :4].mean((1, 2))
    shade = torch.tensor([-0.8, 0.0, 0.8]).repeat(20)
    assert float((left - shade).abs().median()) < 0.3


def test_the_prior_is_a_law_of_maps_of_codes():
    """Σ p(codes) = 1 over all maps, and draws follow it."""
    torch.manual_seed(0)
    model = vq((4,), codes=3, dim=2, places=3, width=4, noise=False).double()
    for p in model.prior.parameters():
        p.data *= 3
    model.quantiser.codebook.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.5]]))
    maps = torch.cartesian_prod(*[torch.arange(3)] * 3)[:, None]
    p = model.log_prior(maps).exp().detach()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    count = 10_000
    made = model.draw(Draws.of(0, range(count)))
    images = model.decode(maps)
    which = torch.cdist(made.detach(), images.detach()).argmin(1)
    found = torch.bincount(which, minlength=27).double() / count
    assert float((found - p).abs().max()) < 5 * math.sqrt(0.25 / count)
    assert float((found - 1 / 27).abs().max()) > 0.01


@pytest.mark.parametrize("layers", [1, 3])
def test_a_place_is_told_of_those_before_it_alone(layers):
    torch.manual_seed(0)
    net = CausalCodes(5, 8, layers).double()
    codes = Draws.of(0, [0]).integers(5, (4, 3))
    net.embedding.weight.requires_grad_()
    odds = net(codes)
    for place in range(12):
        i, j = divmod(place, 3)
        other = codes.clone()
        other[0, i, j] = (codes[0, i, j] + 1) % 5
        changed = (net(other) - odds).abs().amax(1)[0].flatten() > 1e-12
        assert not bool(changed[: place + 1].any())
        assert bool(changed[place + 1 :].any()) or place == 11


def test_a_resumed_run_is_exact_codebook_included(tmp_path):
    items = Blobs(60)
    whole = small()
    fit(whole, items, None, recipe(), tmp_path / "whole", {})

    class Stop(Exception):
        pass

    broken, calls = small(), []

    def stopping(objective, batch, draws, own=broken.loss):
        calls.append(objective)
        if len(calls) == 29:
            raise Stop
        return own(objective, batch, draws)

    broken.loss = stopping
    with pytest.raises(Stop):
        fit(broken, items, None, recipe(), tmp_path / "broken", {})
    resumed = small()
    fit(resumed, items, None, recipe(), tmp_path / "broken", {})
    stored = resumed.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, stored[name]), name


def test_objectives_share_nothing_and_the_prior_moves_no_code():
    model = small().train()
    first, second = ({id(p) for p in group} for group in map(list, model.objectives().values()))
    assert first and second and not first & second
    assert first | second == {id(p) for p in model.parameters()}
    items, draws = Blobs(8), Draws.of(0, range(8))
    model.loss("loss", items.batch(range(8)), draws)
    book = model.quantiser.codebook.clone()
    model.loss("prior", items.batch(range(8)), draws).sum().backward()
    assert torch.equal(book, model.quantiser.codebook)
    assert all(p.grad is None for p in model.encoder.parameters())
    model.eval()
    model.loss("loss", items.batch(range(8)), draws)
    assert torch.equal(book, model.quantiser.codebook)


def test_the_loss_is_a_sum_and_commitment_weighs_the_encoders_side():
    model = small(likelihood=GaussianLikelihood(EachScale())).eval()
    model.quantiser.codebook.copy_(Draws.of(0, range(16)).normal((4,)))
    x = Blobs(5).values
    z = model.encoder(x)
    found = model.loss("loss", Batch(x, torch.zeros(5, dtype=torch.int64)), Draws.of(0, range(5)))
    e = model.quantiser.vectors(model.encode(x))
    distance = (z - e).square().sum((1, 2, 3))
    expected = 0.25 * distance - model.likelihood.log_prob(x, model.decoder(e))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_bound_is_log_p_of_the_items_own_codes():
    model = small().double().eval()
    model.quantiser.codebook.copy_(Draws.of(0, range(16)).normal((4,), F64))
    x, labels = Blobs(4).values.double(), torch.tensor([0, 1, 2, 0])
    value, error = model.log_prob_bound(x, labels)
    codes = model.encode(x)
    raw = model.decoder(model.quantiser.vectors(codes))
    torch.testing.assert_close(value, model.likelihood.log_prob(x, raw) + model.log_prior(codes, labels))
    assert bool((error == 0).all())
    assert isinstance(model, Family) and isinstance(model, HasDensity) and not model.discrete
    torch.testing.assert_close(model.density(x, labels, Draws.of(0, range(4))).nats, value)


def test_a_draw_depends_on_its_key_alone():
    model = small(likelihood=Bernoulli()).eval()
    model.quantiser.codebook.copy_(Draws.of(0, range(16)).normal((4,)))
    draws, labels = Draws.of(0, range(6)), torch.arange(6) % 3
    whole = model.draw(draws, labels)
    model.likelihood.check(whole)
    assert torch.equal(whole[4:5], model.draw(draws[4:5], labels[4:5]))


@pytest.mark.parametrize("shape", [(5,), (3, 9, 6), (1, 4, 4)])
def test_items_of_any_shape(shape):
    model = vq(shape, codes=8, dim=3, width=4).train()
    draws = Draws.of(0, range(3))
    x = draws.normal(shape)
    loss = model.loss("loss", Batch(x), draws)
    (loss + model.loss("prior", Batch(x), draws)).sum().backward()
    assert loss.shape == (3,) and all(p.grad is not None for p in model.parameters())
    assert model.draw(draws).shape == model.reconstruct(x).shape == x.shape
    assert model.encode(x).shape == (3, *model.grid)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: vq((2,), codes=1), "at least two codes of at least one number; got 1"),
        (lambda: vq((2,), codes=4, dim=0), "at least two codes of at least one number; got 4 of 0"),
        (lambda: vq((1, 8, 8), places=3), "leave out the number of places"),
        (lambda: vq((2,), decay=1.0), r"must lie in \[0, 1\); got 1.0"),
        (lambda: small().encode(torch.full((1, 1, 8, 8), math.nan)), "holds nan"),
        (lambda: small(likelihood=Bernoulli()).encode(torch.zeros(1, 1, 8, 8)), "takes the two values"),
        (lambda: small().draw(Draws.of(0, [0])), "conditional on 3 classes"),
        (lambda: small().encode(torch.zeros(1, 1, 6, 6)), r"built for images of shape \(1, 8, 8\)"),
        (lambda: CausalCodes(3)(torch.zeros(2, 3, dtype=torch.int64)), r"the shape \(batch, height, width\)"),
    ],
)
def test_mistakes_are_told(act, words):
    with pytest.raises(UserError, match=words):
        act()


def test_commitment_must_be_positive():
    from pushforward.models.vq import VQAutoencoder

    model = small()
    parts = (model.encoder, model.decoder, model.quantiser, model.prior, model.likelihood, model.shape, model.grid)
    with pytest.raises(UserError, match="commitment must be a positive number; got 0"):
        VQAutoencoder(*parts, commitment=0.0)
    wrong = VQAutoencoder(*parts[:-1], (3, 3))
    with pytest.raises(UserError, match="gives a map"):
        wrong.encode(torch.zeros(1, 1, 8, 8))
    other = VQAutoencoder(*parts[:4], GaussianLikelihood(EachScale()), *parts[5:])
    with pytest.raises(UserError, match="gives numbers"):
        other.reconstruct(torch.zeros(1, 1, 8, 8))
