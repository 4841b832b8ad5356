"""Conditions of diffusion models beside a class: trained, dropped, bound, guided by; edits that begin with items."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pushforward.data.conditioned import Conditioned
from pushforward.data.dataset import Batch
from pushforward.denoisers.guidance import _joint
from pushforward.denoisers.oracle import Mixture, MixtureDenoiser
from pushforward.denoisers.precondition import DataPrediction, EDMPrediction
from pushforward.errors import UserError
from pushforward.latent import PCA
from pushforward.models.denoising import DiffusionGenerator
from pushforward.models.diffusion import Diffusion
from pushforward.models.latent import latent_model
from pushforward.networks import DiT
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.paths.times import LogNormalTimes
from pushforward.samplers.edit import FromItems

F64 = torch.float64
NAMES = ("vector", "tokens", "image")


class Noting(nn.Module):
    """Answers with the sum of what it is told, and remembers it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = []

    def forward(self, x, time, label=None, vector=None, dropped=None):
        self.calls.append((label, vector, dropped))
        seen = torch.zeros(len(x)) if vector is None else vector[:, 0]
        seen = torch.where(dropped[:, 0], torch.zeros(()), seen) if dropped is not None else seen
        return self.weight * seen[:, None].expand(x.shape)


def noting(**changes):
    return Diffusion(
        Noting(),
        EDM(),
        DataPrediction(),
        LogNormalTimes(sigma_data=1.0),
        (2,),
        **{"conditions": ("vector",), **changes},
    )


def test_conditions_are_taken_away_together_with_the_class_and_each_alone():
    model = noting(num_classes=3, label_dropout=0.0, condition_dropout=(0.2, 0.3))
    count = 4000
    batch = Batch(torch.zeros(count, 2), torch.zeros(count).long(), {"vector": torch.ones(count, 1)})
    model.loss("loss", batch, Draws.of(0, range(count)))
    label, vector, dropped = model.network.calls[0]
    nothing = label == 3
    assert torch.equal(vector, batch.conditions["vector"])
    assert float(nothing.float().mean()) == pytest.approx(0.2, abs=0.03)
    assert bool(dropped[nothing].all())
    kept = dropped[~nothing].float().mean(0)
    assert kept.tolist() == pytest.approx([0.3] * 3, abs=0.04)


def test_a_batch_without_its_condition_is_refused():
    with pytest.raises(UserError, match="conditional on vector and this batch has none"):
        noting().loss("loss", Batch(torch.zeros(2, 2)), Draws.of(0, range(2)))


def generator(**changes):
    return DiffusionGenerator(noting(**changes).eval(), None)


def test_samples_take_the_entries_of_a_condition_in_turn():
    bound = generator().given(vector=torch.tensor([[1.0], [5.0]]))
    with torch.no_grad():
        x = bound.draw(Draws.of(0, range(1, 5)), None, steps=20)
    torch.testing.assert_close(
        x[:, 0], torch.tensor([5.0, 1.0, 5.0, 1.0]), atol=2e-2, rtol=0
    )  # the network answers with E[x_0]


@pytest.mark.parametrize(("held", "expected"), [((), 4.0), (("vector",), 2.0)])
def test_guidance_multiplies_what_is_not_held(held, expected):
    """c = 2, u = 0: weight 2 gives 2c − u = 4; where the condition is held u is c."""
    bound = generator().given(held=held, vector=torch.tensor([[2.0]]))
    with torch.no_grad():
        x = bound.draw(Draws.of(0, range(3)), None, steps=20, guidance=2.0)
    torch.testing.assert_close(x, torch.full((3, 2), expected), atol=2e-2, rtol=0)
    guided = bound.conditioned(None, 2.0, {"vector": torch.full((3, 1), 2.0)})
    assert _joint(guided.conditional, guided.unconditional) is not None  # one call of the network for both


def test_unknown_conditions_and_guidance_to_nothing_are_told():
    with pytest.raises(UserError, match="no condition 'text'"):
        generator().given(text=torch.zeros(1, 1))
    with pytest.raises(UserError, match="needs a label"):
        generator().conditioned(None, 2.0)


class Split:
    """Items of a split."""

    labels = None

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        return Batch(self.values[torch.as_tensor(indices)])

    def all(self):
        return self.batch(range(len(self)))


def test_conditions_come_from_arrays_and_from_functions_of_the_items():
    x = Draws.of(0, range(6)).normal((2,))
    items = Conditioned(Split(x), {"vector": torch.arange(6.0)[:, None], "image": lambda batch: 2 * batch.values})
    batch = items.batch(torch.tensor([4, 1]))
    assert batch.conditions["vector"].tolist() == [[4.0], [1.0]]
    assert torch.equal(batch.conditions["image"], 2 * x[[4, 1]])
    assert set(batch.to("cpu").conditions) == {"vector", "image"} and len(items) == 6
    with pytest.raises(UserError, match="5 entries for 6 items"):
        Conditioned(Split(x), {"vector": torch.zeros(5, 1)})
    with pytest.raises(UserError, match="not finite"):
        Conditioned(Split(x), {"vector": torch.full((6, 1), math.nan)})


def test_latent_models_pass_conditions_on_to_their_model_of_latents():
    x = Draws.of(0, range(20)).normal((3,))
    items = Conditioned(Split(x), {"vector": torch.arange(20.0)[:, None]})
    model = latent_model(PCA((3,), 2), noting())
    train, _ = model.prepare(items, items)
    model.loss("loss", train.batch(torch.tensor([3, 7])), Draws.of(0, range(2)))
    assert model.inner.network.calls[0][1].tolist() == [[3.0], [7.0]]


def test_a_model_of_several_conditions_learns_to_obey_each_and_all():
    """x is the sum of a vector, a token and an image, ±1 each: with all given it is known, with one its mean."""
    torch.manual_seed(0)
    draws = Draws.of(0, range(512))
    parts = {name: 2.0 * draws.at(name).integers(2) - 1 for name in NAMES}
    values = sum(parts.values())[:, None, None].expand(-1, 1, 2).contiguous()
    items = Conditioned(
        Split(values),
        {
            "vector": parts["vector"][:, None],
            "tokens": parts["tokens"][:, None, None],
            "image": parts["image"][:, None, None].expand(-1, 1, 2).contiguous(),
        },
    )
    net = DiT(1, 1, 16, 1, dims=1, vector=1, tokens=1, image=1)
    model = Diffusion(
        net, EDM(), EDMPrediction(1.7), LogNormalTimes(sigma_data=1.7), (1, 2), conditions=NAMES,
        condition_dropout=(0.1, 0.2),
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    for step in range(300):
        at = Draws.of(1, range(64)).at(step).integers(512)
        loss = model.loss("loss", items.batch(at), Draws.of(2, range(64)).at(step)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    denoiser = model.eval().denoiser()
    level = model.path.level(float(model.path.time(torch.tensor(-math.log(40.0), dtype=F64))))
    some = items.batch(torch.arange(64))
    with torch.no_grad():
        noise = 40 * Draws.of(3, range(64)).normal((1, 2))
        whole = denoiser.given(**some.conditions).estimate(noise, level).mean
        assert float((whole - some.values).abs().mean()) < 0.5
        for name in NAMES:
            alone = denoiser.given(**{name: some.conditions[name]}).estimate(noise, level).mean
            expected = parts[name][:64, None, None]
            assert float((alone - expected).abs().mean()) < 0.6, name


# -- edits ---------------------------------------------------------------------------------------------------------


def test_items_of_the_data_stay_of_the_data_and_keep_what_is_coarser_than_the_noise():
    """Two far modes of width 0.3: an item noised by 1 and drawn again is of its own mode and of the mode's law."""
    means = torch.tensor([[-8.0], [8.0]], dtype=F64)
    mixture = Mixture.of_covariances(torch.ones(2, dtype=F64) / 2, means, torch.full((2,), 0.09, dtype=F64))
    denoiser, count = MixtureDenoiser(mixture, EDM()), 4000
    draws = Draws.of(0, range(count))
    modes = torch.where(draws.at("mode").integers(2) > 0, 8.0, -8.0)[:, None].double()
    items = modes + 0.3 * draws.at("item").normal((1,), F64)
    noise = denoiser.path.prior(draws.at("prior").normal((1,), F64))
    x = FromItems(items, 1.0).sample(denoiser, noise, 30, draws)
    assert bool((x.sign() == modes.sign()).all())
    assert float((x - modes).mean()) == pytest.approx(0, abs=0.02)
    assert float((x - modes).std()) == pytest.approx(0.3, rel=0.04)
    # the posterior mean of an item under noise 1 keeps 0.09/1.09 of its deviation, so the rest is new
    correlation = np.corrcoef((x - modes)[:, 0], (items - modes)[:, 0])[0, 1]
    assert correlation == pytest.approx(math.sqrt(0.09 / 1.09), abs=0.05)
    near = FromItems(items, 1e-2).sample(denoiser, noise, 10, draws)
    assert float((near - items).abs().max()) < 0.05


def test_items_outside_the_data_are_pulled_to_it_by_enough_noise():
    mixture = Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, 1, dtype=F64), torch.ones(1, dtype=F64))
    denoiser, draws = MixtureDenoiser(mixture, EDM()), Draws.of(0, range(2000))
    noise = denoiser.path.prior(draws.at("prior").normal((1,), F64))
    far = torch.full((1, 1), 10.0, dtype=F64)
    means = [float(FromItems(far, s).sample(denoiser, noise, 30, draws).mean()) for s in (0.1, 1.0, 10.0)]
    # the flow of a Gaussian is affine: the mean 10 is carried to 10/√(1 + s²)
    assert means == pytest.approx([10 / math.sqrt(1 + s * s) for s in (0.1, 1.0, 10.0)], abs=0.1)


def test_edits_that_cannot_be_are_told():
    mixture = Mixture.of_covariances(torch.ones(1, dtype=F64), torch.zeros(1, 1, dtype=F64), torch.ones(1, dtype=F64))
    denoiser, draws = MixtureDenoiser(mixture, EDM()), Draws.of(0, [0])
    x = torch.zeros(1, 1, dtype=F64)
    with pytest.raises(UserError, match="above 0"):
        FromItems(x, 0.0)
    with pytest.raises(UserError, match="not finite"):
        FromItems(x / 0, 1.0)
    with pytest.raises(UserError, match="not below the 80"):
        FromItems(x, 100.0).sample(denoiser, x, 5, draws)
    with pytest.raises(UserError, match=r"have the shape \(2,\)"):
        FromItems(torch.zeros(1, 2), 1.0).sample(denoiser, x, 5, draws)
