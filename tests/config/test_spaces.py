"""Restoring through a decoder, where the posterior of the latent is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from pushforward.config.families.latent import latent_format
from pushforward.config.methods import USUAL_METHOD, named_method
from pushforward.config.spaces import LatentSpace
from pushforward.denoisers.oracle import Mixture, MixtureDenoiser
from pushforward.denoisers.precondition import EDMPrediction
from pushforward.inverse import Gaussian
from pushforward.inverse.operators.elementwise import Identity
from pushforward.latent import PCA
from pushforward.models.denoising import DiffusionGenerator
from pushforward.models.family import Denoising
from pushforward.models.latent import latent_model
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import Question, infer

DIM, KEPT, SIGMA, LOST = 6, 2, 0.8, 0.1


class Split:
    """Items of a split."""

    labels = None

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        from pushforward.data.dataset import Batch

        return Batch(self.values[torch.as_tensor(indices)])

    def all(self):
        return self.batch(range(len(self)))


class Standardised(Denoising):
    """The exact denoiser of N(0, I)."""

    def __init__(self, size):
        super().__init__((size,))
        self.path, self.prediction, self.network = EDM(), EDMPrediction(1.0), nn.Identity()
        one, nothing = torch.ones(1), torch.zeros(1, size)
        self.mixture = Mixture.of_covariances(one, nothing, torch.eye(size)[None])

    device = torch.device("cpu")

    def objectives(self):
        return {"loss": []}

    def loss(self, objective, batch, draws):
        raise NotImplementedError

    def denoiser(self):
        return MixtureDenoiser(self.mixture, self.path)

    def draw(self, draws, labels=None):
        raise NotImplementedError


@pytest.fixture(scope="module")
def space():
    """Items 2 U z + 0.1 n on a plane of six dimensions."""
    plane = torch.linalg.qr(Draws.of(1, [0]).normal((DIM, KEPT))[0])[0]
    draws = Draws.of(0, range(3000))
    x = 2 * draws.at("z").normal((KEPT,)) @ plane.T + LOST * draws.at("n").normal((DIM,))
    model = latent_model(PCA((DIM,), KEPT), Standardised(KEPT))
    model.prepare(Split(x), Split(x[:500]))
    form = latent_format((DIM,))
    return LatentSpace(model, DiffusionGenerator(model.inner, form), form), x


def test_draws_through_the_decoder_are_about_the_posterior_and_lose_what_the_first_stage_loses(space):
    space, x = space
    assert space.lost == pytest.approx(LOST * ((DIM - KEPT) / DIM) ** 0.5, rel=0.1)
    model, truth = space.model, x[:8]
    y = truth + SIGMA * Draws.of(2, range(8)).normal((DIM,))
    likelihood = Gaussian(Identity(), y.double(), SIGMA)
    seen = space.likelihood(likelihood)
    assert float(seen.sigma) == pytest.approx((SIGMA**2 + space.lost**2) ** 0.5, rel=0.05)
    question = Question(space.generator.conditioned(None), seen, space.shape, 8)
    method = space.method(USUAL_METHOD, named_method(USUAL_METHOD), likelihood)
    answer = infer(method, question, samples=64, evaluations=30)
    items = space.items(answer.samples)
    # exact: u | y ~ N of precision 1 + (DᵀD)/σ², D = ∂decode/∂u
    unit = model.decode(torch.cat((torch.zeros(1, KEPT), torch.eye(KEPT))))
    decoder = (unit[1:] - unit[0]).T.double()
    precision = torch.eye(KEPT).double() + decoder.T @ decoder / float(seen.sigma) ** 2
    mean = torch.linalg.solve(precision, decoder.T @ (y.double() - unit[0].double()).T / float(seen.sigma) ** 2).T
    found = answer.samples.double()
    assert float((found.mean(0) - mean).abs().mean()) < 0.1
    ratio = found.var(0).mean() / torch.linalg.inv(precision).diagonal().mean()
    assert 0.6 < float(ratio) < 1.5
    error = (items.mean(0) - truth).square().mean()
    assert float(error) < 0.5 * float((y - truth).square().mean())
    assert float(error.sqrt()) > space.lost


def test_exact_draws_through_the_decoder_are_those_of_the_closed_form(space):
    space, x = space
    y = x[:4] + SIGMA * Draws.of(2, range(4)).normal((DIM,))
    likelihood = Gaussian(Identity(), y.double(), SIGMA)
    seen = space.likelihood(likelihood)
    question = Question(space.generator.conditioned(None), seen, space.shape, 4)
    method = space.method("exact", named_method("exact"), likelihood)
    answer = infer(replace(method, inner=6, start=10), question, samples=48, evaluations=190)
    unit = space.model.decode(torch.cat((torch.zeros(1, KEPT), torch.eye(KEPT)))).double()
    decoder, variance = (unit[1:] - unit[0]).T, float(seen.sigma) ** 2
    precision = torch.eye(KEPT).double() + decoder.T @ decoder / variance
    mean = torch.linalg.solve(precision, decoder.T @ (y.double() - unit[0]).T / variance).T
    spread = torch.linalg.inv(precision).diagonal().sqrt()
    found = answer.samples.double()
    assert float(((found.mean(0) - mean) / spread).square().mean().sqrt()) < 0.3  # 1/√48 is 0.14
    assert 0.75 < float(found.var(0).mean() / spread.square().mean()) < 1.3


def test_other_methods_have_the_decoder_as_their_operator(space):
    space, x = space
    likelihood = Gaussian(Identity(), x[:2].double(), SIGMA)
    through = space.likelihood(likelihood).operator
    u = Draws.of(3, range(2)).normal((KEPT,)).double()
    torch.testing.assert_close(through(u).float(), space.model.decode(u.float()))
    with torch.no_grad():
        torch.testing.assert_close(through.pseudo_inverse(through(u)), u, atol=1e-4, rtol=0)
    assert named_method("dps").build(likelihood) == space.method("dps", named_method("dps"), likelihood)
