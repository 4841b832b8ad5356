"""Latent models: first stage and model of latents as one, against closed forms; trained, resumed, restored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.oracle import Mixture, MixtureDenoiser
from pushforward.denoisers.precondition import EDMPrediction
from pushforward.errors import UserError
from pushforward.flows.builders import nsf
from pushforward.latent import KL, PCA, VQ, Adversary, Standard
from pushforward.models.autoencoder import Autoencoder, autoencoder, squared_error
from pushforward.models.diffusion import Diffusion
from pushforward.models.family import Denoising, HasDensity
from pushforward.models.first_stages import first_stage_of
from pushforward.models.flow import FlowModel
from pushforward.models.indices import Indices
from pushforward.models.latent import Latent, LatentWithDensity, latent_model
from pushforward.models.vae import vae
from pushforward.models.vq import vq
from pushforward.networks import MLP, UNet
from pushforward.networks.patches import PatchDiscriminator
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.paths.times import LogNormalTimes
from pushforward.samplers.default import default_sampler
from pushforward.training import Recipe, fit
from pushforward.vae import Diagonal, FullCovariance, VectorQuantiser
from pushforward.vae.codebook import Codebook

F64 = torch.float64


class Items:
    """Tensors as a split."""

    def __init__(self, values, labels=None):
        self.values, self.labels = values, None if labels is None else labels.numpy()

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        at = torch.as_tensor(indices)
        return Batch(self.values[at], None if self.labels is None else torch.from_numpy(self.labels)[at])

    def all(self):
        return self.batch(range(len(self)))


class Exact(Denoising):
    """The exact denoiser of a Gaussian, as a family."""

    def __init__(self, mean, covariance):
        super().__init__(mean.shape)
        self.path, self.prediction, self.network = EDM(), EDMPrediction(1.0), nn.Identity()
        self.mixture = Mixture.of_covariances(torch.ones(1, dtype=F64), mean[None], covariance[None])

    @property
    def device(self):
        return torch.device("cpu")

    def objectives(self):
        return {"loss": []}

    def loss(self, objective, batch, draws):
        return batch.values.square().sum(1)

    def denoiser(self):
        return MixtureDenoiser(self.mixture, self.path)

    def draw(self, draws, labels=None):
        start = self.path.prior(draws.at("prior").normal(self.shape, F64))
        return default_sampler(self.path, 50, 1.0).sample(self.denoiser(), start, 50, draws)


def gaussian(count, dim=8, seed=0):
    axes = torch.linalg.qr(Draws.of(5, [0]).normal((dim, dim), F64)[0])[0]
    return Draws.of(seed, range(count)).normal((dim,), F64) * torch.linspace(3, 0.2, dim, dtype=F64) @ axes.T + 1.5


def over_components(x, k):
    """PCA and the exact denoiser of its standardised latents."""
    stage = PCA(x.shape[1:], k).double()
    stage.fit(x)
    z = stage.code(x).mean
    u = (z - z.mean(0)) / z.std(0, correction=0)
    model = latent_model(stage, Exact(u.mean(0), torch.cov(u.T)))
    model.double().prepare(Items(x), Items(x[:0]))
    return model


def test_components_and_an_exact_denoiser_draw_the_covariance_cut_at_rank_k():
    x, k = gaussian(4000), 3
    model = over_components(x, k)
    drawn = model.draw(Draws.of(1, range(40_000)))
    values, axes = torch.linalg.eigh(torch.cov(x.T))
    cut = axes[:, -k:] @ torch.diag(values[-k:]) @ axes[:, -k:].T
    found = torch.cov(drawn.T)
    assert float((found - cut).norm() / cut.norm()) < 0.02
    assert float((found - torch.cov(x.T)).norm() / cut.norm()) > 0.02  # the control: the whole covariance is another
    torch.testing.assert_close(drawn.mean(0), x.mean(0), atol=0.06, rtol=0)


def test_the_density_over_components_is_exact():
    x, k = gaussian(2000), 3
    model = over_components(x, k)
    assert isinstance(model, LatentWithDensity) and isinstance(model, HasDensity)
    some = x[:20]
    found = model.density(some, None, Draws.of(0, range(20)))
    values, axes = torch.linalg.eigh(torch.cov(x.T))
    rest = values[:-k].mean()
    covariance = axes[:, -k:] @ torch.diag(values[-k:]) @ axes[:, -k:].T + rest * axes[:, :-k] @ axes[:, :-k].T
    exact = torch.distributions.MultivariateNormal(x.mean(0), covariance).log_prob(some)
    torch.testing.assert_close(found.nats, exact, atol=0.02, rtol=0)
    assert found.of == "the data" and float(found.standard_error.max()) == 0


def test_a_flow_over_components_has_a_density_that_is_one():
    """∫ p(x) dx = 1 on a plane of which one direction is kept."""
    torch.manual_seed(0)
    x = gaussian(500, 2).float() - 1.5
    stage = PCA((2,), 1)
    model = latent_model(stage, FlowModel(nsf(1, 2, (8,)), (1,)))
    model.prepare(Items(x), Items(x[:0]))
    side = torch.linspace(-14, 14, 400)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        p = model.density(grid, None, Draws.of(0, range(len(grid)))).nats.exp()
    assert float(p.sum() * (side[1] - side[0]) ** 2) == pytest.approx(1, abs=0.01)


def test_the_bound_over_a_vae_with_its_own_prior_is_the_vaes_own():
    """With p(z) of the VAE itself in the place of a learned one, the bound is its evidence bound."""
    torch.manual_seed(0)
    model = vae((5,), 2, hidden=(8,)).double()
    stage = first_stage_of(model)
    inner = Exact(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
    whole = latent_model(stage, inner)  # not measured: latents keep their units
    assert isinstance(whole, LatentWithDensity)
    x = gaussian(30, 5)
    keys = Draws.of(3, range(30))
    with torch.no_grad():
        bounds = torch.stack([whole.density(x, None, keys.at(i)).nats for i in range(6)]).mean(0)
        own = torch.stack([-model.loss("loss", Batch(x), keys.at("own", i)) for i in range(6)]).mean(0)
    assert float((bounds - own).abs().mean()) < 0.25 * float(own.abs().mean())
    torch.testing.assert_close(bounds.mean(), own.mean(), rtol=0.05, atol=0)
    assert not isinstance(latent_model(first_stage_of(vae((5,), 2, posterior=FullCovariance(2))), inner), HasDensity)


# -- training ------------------------------------------------------------------------------------------------------


def blobs(count, seed=0):
    """8 × 8 images of two halves of three shades."""
    draws = Draws.of(seed, range(count), "blobs")
    shade = torch.tensor([-0.8, 0.0, 0.8])
    halves = torch.stack((shade[draws.at("left").integers(3)], shade[draws.at("right").integers(3)]), 1)
    return halves[:, None, None].repeat_interleave(4, 3).expand(-1, 1, 8, 8) + 0.02 * draws.at("noise").normal(
        (1, 8, 8)
    )


def recipe(**changes):
    base = {"batch_size": 32, "steps": 60, "save_every": 20, "save_seconds": None, "warmup_steps": 5, "device": "cpu"}
    return Recipe(**{**base, "learning_rate": 3e-3, "clip_norm": None, **changes})


REGULARISERS = {
    "kl": KL,
    "averages": lambda: VQ(VectorQuantiser(16, 4)),
    "gradient": lambda: VQ(Codebook(16, 4)),
}


@pytest.mark.parametrize("kind", list(REGULARISERS))
def test_an_autoencoder_learns_to_reconstruct(kind, tmp_path):
    torch.manual_seed(0)
    model = autoencoder((1, 8, 8), 4, halvings=2, width=8, regulariser=REGULARISERS[kind](), distance=squared_error)
    x = blobs(300)
    steps = 70 if kind == "gradient" else 30
    fit(model, Items(x), Items(x[:32]), recipe(steps=steps, batch_size=16, save_every=steps), tmp_path / kind, {})
    model.eval()
    with torch.no_grad():
        assert float((model.reconstruct(x[:64]) - x[:64]).square().mean()) < (
            0.85 if kind == "gradient" else 0.6
        ) * float(x.var())
    assert model.latent_shape == (4, 2, 2)
    with pytest.raises(UserError, match="no law of its latents"):
        model.draw(Draws.of(0, [0]))


def test_the_critic_acts_from_its_start_on_and_each_moves_its_own_side():
    torch.manual_seed(0)
    adversary = Adversary(PatchDiscriminator(1, 8, 1), factor=0.5, start=0.5)
    model = autoencoder((1, 8, 8), 2, halvings=1, width=8, adversary=adversary)
    own, other = (list(group) for group in model.objectives().values())
    assert not {id(p) for p in own} & {id(p) for p in other}
    assert {id(p) for p in own} | {id(p) for p in other} == {id(p) for p in model.parameters()}
    batch, draws = Batch(blobs(4)), Draws.of(0, range(4))
    before = model.loss("loss", batch, draws)
    assert not model.loss("discriminator", batch, draws).any()
    model.progress = 0.6
    after = model.loss("loss", batch, draws)
    told = model.figures()
    torch.testing.assert_close(after, before + 0.5 * told["critic_weight"] * told["critic"])
    model.zero_grad()
    model.loss("discriminator", batch, draws).sum().backward()
    assert all(p.grad is None for p in own) and all(p.grad is not None for p in other)
    alone = Autoencoder(model.encoder, nn.Identity(), (1, 8, 8), (2, 4, 4), adversary=adversary)
    with pytest.raises(UserError, match="name it `output`"):
        alone._last()


def small_latent(x, **changes):
    torch.manual_seed(1)
    stage = PCA(x.shape[1:], 2)
    inner = Diffusion(MLP(2, 16, 1), EDM(), EDMPrediction(1.0), LogNormalTimes(sigma_data=1.0), (2,))
    return latent_model(stage, inner, **changes)


def test_a_resumed_run_is_exact_and_keeps_first_stage_and_units(tmp_path):
    x = gaussian(200).float()
    whole = small_latent(x)
    items = whole.prepare(Items(x), Items(x[:20]))
    fit(whole, *items, recipe(steps=20, save_every=10), tmp_path / "whole", {})
    part = small_latent(x)
    fit(part, *part.prepare(Items(x), Items(x[:20])), recipe(steps=10, save_every=10, schedule=recipe().schedule),
        tmp_path / "part", {})  # fmt: skip
    assert whole.state_dict().keys() == part.state_dict().keys()
    stored = {name: value for name, value in whole.state_dict().items() if "stage" in name or "standard" in name}
    assert stored and all(torch.equal(value, part.state_dict()[name]) for name, value in stored.items())
    again = small_latent(x)
    again.load_state_dict(whole.state_dict())
    kept = again.standard.scale.clone()
    again.prepare(Items(2 * x), Items(x[:20]))  # what is known is not measured again
    assert torch.equal(again.standard.scale, kept)


def test_only_the_model_of_latents_is_trained_and_the_first_stage_stays_in_evaluation():
    x = gaussian(50).float()
    model = small_latent(x).train()
    assert model.inner.training and not model.stage.training
    trained = {id(p) for group in model.objectives().values() for p in group}
    assert trained == {id(p) for p in model.inner.parameters()}


def test_items_encoded_beforehand_train_as_items_encoded_in_the_step():
    torch.manual_seed(0)
    x = blobs(40)
    stage = autoencoder((1, 8, 8), 2, halvings=1, width=8)
    inner = Diffusion(UNet(2, 8, (1,), 1), EDM(), EDMPrediction(1.0), LogNormalTimes(sigma_data=1.0), (2, 4, 4))
    model = Latent(stage, inner).eval()
    encoded, _ = model.prepare(Items(x), Items(x[:8]))
    at, draws = torch.arange(6), Draws.of(0, range(6))
    first = model.loss("loss", encoded.batch(at), draws)
    torch.testing.assert_close(first, model.loss("loss", Items(x).batch(at), draws))
    other = model.loss("loss", encoded.batch(at), Draws.of(1, range(6)))
    assert not torch.allclose(first, other)
    assert float(model.lost.square().mean().sqrt()) == pytest.approx(
        float((model.reconstruct(x[:8]) - x[:8]).square().mean().sqrt()), rel=1e-4
    )


def test_latents_that_do_not_match_are_told():
    x = gaussian(50).float()
    with pytest.raises(
        UserError, match=r"latents of shape \(3,\), and the model of latents is of items of shape \(2,\)"
    ):
        latent_model(PCA((8,), 3), small_latent(x).inner)
    with pytest.raises(UserError, match=r"pushforward.latent.Foreign"):
        latent_model(object.__new__(type("Other", (), {"shape": (8,)})), small_latent(x).inner)
    with pytest.raises(UserError, match="trained with them"):
        first_stage_of(vae((4,), 2, num_classes=3))
    with pytest.raises(UserError, match="this is a Latent"):
        first_stage_of(small_latent(x))


def test_symbols_of_codes_are_their_numbers_and_keep_their_units():
    torch.manual_seed(0)
    stage = autoencoder((1, 8, 8), 3, halvings=1, width=8, regulariser=VQ(Codebook(6, 3))).eval()
    stage.regulariser.book.weight.data.normal_()
    indices, x = Indices(stage), blobs(5)
    with torch.no_grad():
        u = indices.code(x).mean
        codes = stage.regulariser.book(stage.encode(x)).codes
        torch.testing.assert_close(u, 2 * codes[:, None] / 5 - 1.0)
        torch.testing.assert_close(indices.decode(u), stage.reconstruct(x))
    standard = Standard((1, 4, 4))
    standard.measure([indices.code(x)], keep_units=True)
    assert torch.equal(standard.standardised(u), u) and int(standard.measured) == 5
    with pytest.raises(UserError, match="needs a first stage with codes"):
        Indices(autoencoder((1, 8, 8), 3, halvings=1, width=8))


def test_quantised_autoencoders_are_first_stages_before_their_codes():
    torch.manual_seed(0)
    model = vq((1, 8, 8), 16, 4, width=8).eval()
    model.quantiser.codebook.copy_(Draws.of(0, range(16)).normal((4,)))
    stage, x = first_stage_of(model), blobs(5)
    with torch.no_grad():
        z = stage.code(x).mean
        torch.testing.assert_close(stage.decode(z), model.reconstruct(x))
    assert z.shape[1:] == stage.latent_shape
    plain = first_stage_of(vae((5,), 2, posterior=Diagonal(2)))
    with torch.no_grad():
        code = plain.code(gaussian(10, 5).float())
    assert code.deviation is not None and math.isfinite(float(code.deviation.sum()))
    assert np.isfinite(code.mean.detach().numpy()).all()
