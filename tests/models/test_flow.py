"""The flow family: its loss is a bound of discrete data, its density exact, its samples their own; it resumes."""

from __future__ import annotations

import math
import os
import signal

import numpy as np
import pytest
import torch

from pushforward.data.dataset import Batch
from pushforward.data.sources import load
from pushforward.errors import Interrupted, UserError
from pushforward.flows import (
    ActNorm,
    Chain,
    Flatten,
    Flow,
    Gaussian,
    Ode,
    Scale,
    StandardGaussian,
    VelocityMLP,
    glow,
    maf,
)
from pushforward.models.flow import FlowModel, flow_model
from pushforward.models.scoring import ByModel, Units, moments_of, score_rows
from pushforward.networks.budget import count_parameters, width_for
from pushforward.numerics.random import Draws, key, normal, uniform
from pushforward.training import Recipe, find_checkpoint, fit
from pushforward.training.checkpoint import load_weights
from pushforward.training.observers import Observer


def numbers(seed, *shape):
    return normal(torch.tensor([key("flow model", seed)]), shape)[0]


def levels(count, side=4, top=5):
    """Images of whole numbers 0 … top, smooth from left to right."""
    base = uniform(torch.tensor([key("levels", count)]), (count, side, side))[0]
    return ((0.5 * base + 0.5 * base.mean(2, keepdim=True)) * (top + 1)).floor().numpy().astype(np.uint8)


def from_arrays(values, labels=None):
    return load(values, labels=labels)


def images(count=60, labels=None):
    return from_arrays(levels(count), labels)


def stirred(model, size=0.1):
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p += size * numbers(i, *p.shape).to(p)
    return model


def of_point(mean, std):
    return Flow(Gaussian(torch.tensor([mean]), torch.tensor([std])), Chain())


def test_the_loss_is_the_mean_density_over_the_cell():
    """One coordinate with a closed form: E_u −log N(v + cell·u), in nats per dimension."""
    model = FlowModel(of_point(0.3, 0.8), (1,), cell=0.5)
    values = torch.full((20_000, 1), 0.7)
    found = model.loss("loss", Batch(values), Draws.of(0, range(len(values))))
    exact = 0.5 * math.log(2 * math.pi) + math.log(0.8) + ((0.7 - 0.3) ** 2 + 0.5**2 / 12) / (2 * 0.8**2)
    assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / math.sqrt(len(values)))
    assert float(found.std()) > 0.01
    again = model.loss("loss", Batch(values[:3]), Draws.of(0, range(3)))
    assert torch.equal(again, found[:3])


def test_data_that_are_continuous_are_left_as_they_are():
    model = FlowModel(of_point(0.3, 0.8), (1,))
    x = torch.tensor([[0.1], [2.0]])
    assert torch.equal(model.loss("loss", Batch(x), Draws.of(0, range(2))), -model.log_prob(x))


def test_probabilities_of_whole_numbers_sum_to_less_than_one_and_nearly_so():
    """Scored in the user's units, exp(nats) of all values of a pixel is a lower bound of a law: its sum is ≤ 1."""
    data = from_arrays(np.repeat(levels(40, 2)[:, :1, :1], 1, axis=1))
    units_per_model = data.format.scale
    model = FlowModel(of_point(0.0, 0.7), (1, 1, 1), cell=1 / units_per_model)
    model.flow.base = StandardGaussian((1,))
    model.flow.bijection = image_of_one()
    every = data.format.encode(np.arange(6, dtype=np.uint8).reshape(6, 1, 1))
    scores = score_rows(
        ByModel(model), data.format, moments_of(data.train.all().values, Units.of(data.format)), every, repeats=64
    )
    total = float(np.exp(scores.nats).sum())
    assert 0.8 < total <= 1
    assert scores.bits_per_dim is not None and np.allclose(scores.bits_per_dim, -scores.nats / math.log(2))
    assert "exact change of variables, 64 uniform dequantisations" in scores.method


def image_of_one():
    return Chain(Flatten((1, 1, 1)), Scale(1.4))


@pytest.mark.parametrize("classes", [0, 3])
def test_images_by_default(classes):
    data = images(labels=np.arange(60) % 3 if classes else None)
    model = stirred(flow_model(data.format, classes, width=8, layers=2))
    batch = data.train.batch(torch.arange(8))
    draws = Draws.of(0, range(8))
    labels = batch.labels if classes else None
    assert model.loss("loss", batch, draws).shape == (8,)
    x = model.draw(draws, labels)
    assert x.shape == (8, 1, 4, 4) and float(x.abs().max()) < 1.3
    z = model.encode(x, labels)
    assert torch.allclose(model.decode(z, labels), x, atol=1e-4)
    assert torch.allclose(model.draw(draws[3:4], None if labels is None else labels[3:4]), x[3:4], atol=1e-4)
    assert data.format.decode(x).shape == (8, 4, 4)


def test_vectors_by_default_and_by_couplings():
    data = from_arrays(numbers(0, 80, 3).numpy())
    for autoregressive in (True, False):
        model = flow_model(data.format, width=16, layers=2, autoregressive=autoregressive)
        assert model.shape == (3,) and float(model.cell.max()) == 0
        assert model.draw(Draws.of(0, range(4))).shape == (4, 3)
    with pytest.raises(UserError, match=r"shape \(3,\): leave them out"):
        flow_model(data.format, levels=2)


def test_images_that_cannot_be_halved_become_vectors():
    data = from_arrays(levels(40, 5))
    model = flow_model(data.format, width=8, layers=1)
    assert model.draw(Draws.of(0, range(2))).shape == (2, 1, 5, 5)
    assert torch.isfinite(model.log_prob(data.train.batch([0, 1]).values)).all()


def test_counted_columns_get_their_cells():
    table = np.stack((np.arange(50) % 7, np.arange(50) % 3), 1)
    model = flow_model(from_arrays(table).format, width=8, layers=1)
    assert (model.cell > 0).all()


def test_without_a_class_all_are_equally_likely():
    model = stirred(FlowModel(maf(2, 2, (8,), 3), (2,), 3), 0.5)
    x = numbers(1, 4, 2)
    each = torch.stack([model.log_prob(x, torch.full((4,), c)) for c in range(3)])
    assert torch.allclose(model.log_prob(x), torch.logsumexp(each, 0) - math.log(3), atol=1e-6)
    assert not torch.allclose(each[0], each[1])
    found = model.density(x, None, Draws.of(0, range(4)))
    assert found.nats.dtype == torch.float64 and "3 classes equally likely" in found.method
    drawn = model.draw(Draws.of(0, range(400)))
    assert torch.allclose(drawn[7:8], model.draw(Draws.of(0, [7])), atol=1e-5)
    assert drawn.std(0).min() > 0


def glow_model():
    torch.manual_seed(0)
    return FlowModel(glow((1, 4, 4), 1, 2, 8), (1, 4, 4), cell=0.1)


class Items:
    def __init__(self, count=40):
        self.values = 3 + 2 * numbers(9, count, 1, 4, 4)

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        return Batch(self.values[torch.as_tensor(indices)])


class Stop(Observer):
    def __init__(self, at):
        self.at = at

    def step(self, event):
        if event.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def recipe(**changes):
    return Recipe(**{"batch_size": 8, "steps": 12, "log_every": 1, "device": "cpu", "save_seconds": None, **changes})


def test_actnorm_is_set_once_by_the_first_training_batch():
    model, draws = glow_model(), Draws.of(0, range(8))
    batch = Items().batch(range(8))
    before = model.log_prob(batch.values)
    model.eval()
    model.loss("loss", batch, draws)
    assert torch.equal(model.log_prob(batch.values), before) and not bool(model.initialised)
    model.train()
    first = model.loss("loss", batch, draws)
    assert bool(model.initialised)
    norm = next(m for m in model.modules() if isinstance(m, ActNorm))
    kept = norm.log_scale.detach().clone()
    assert float(first.mean()) < float(-before.mean()) / 16
    model.loss("loss", Items().batch(range(20, 28)), draws)
    assert torch.equal(norm.log_scale, kept)


def test_a_training_that_is_stopped_goes_on_to_the_bit(tmp_path):
    fit(glow_model(), Items(), None, recipe(), tmp_path / "whole", {})
    with pytest.raises(Interrupted):
        fit(glow_model(), Items(), None, recipe(), tmp_path / "stopped", {}, observers=[Stop(5)])
    fit(glow_model(), Items(), None, recipe(), tmp_path / "stopped", {})
    one, two = (find_checkpoint(tmp_path / name, "last") for name in ("whole", "stopped"))
    for group in one.groups:
        first, second = one.tensors(group), two.tensors(group)
        assert first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first), group
    model = glow_model()
    load_weights(model, one)
    assert bool(model.initialised)


def test_training_reaches_the_entropy_of_correlated_numbers():
    """1 + 2 z₁ and that plus z₂: the floor is their entropy, 1.42 + log 2/2 nats per number; training comes near."""
    z = numbers(3, 4000, 2)
    values = torch.stack((1 + 2 * z[:, 0], 1 + 2 * z[:, 0] + z[:, 1]), 1)
    torch.manual_seed(0)
    model = FlowModel(maf(2, 2, (16,)), (2,))
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    for step in range(150):
        draws = Draws.of(0, range(256)).at(step)
        loss = model.loss("loss", Batch(values[draws.integers(2000)]), draws).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    floor = 0.5 * math.log(2 * math.pi * math.e) + math.log(2) / 2
    held = -model.log_prob(values[2000:]).mean().item() / 2
    assert floor - 0.03 < held < floor + 0.06


def test_a_continuous_flow_is_trained_with_probes_and_scored_exactly():
    torch.manual_seed(0)
    model = stirred(FlowModel(Flow(StandardGaussian((3,)), Ode(VelocityMLP(3, (8,)), steps=4)), (3,)))
    x, draws = numbers(4, 400, 3), Draws.of(0, range(400))
    estimated, exact = -3 * model.loss("loss", Batch(x), draws), model.log_prob(x)
    gap = estimated - exact
    assert float(gap.abs().max()) > 1e-3
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / 20
    assert torch.allclose(model.density(x[:4], None, draws[:4]).nats.float(), exact[:4], atol=1e-5)


def test_a_budget_of_parameters_is_kept():
    data = images()

    def build(width):
        return flow_model(data.format, width=width)

    state = torch.get_rng_state()
    width = width_for(build, 60_000)
    assert torch.equal(torch.get_rng_state(), state)
    assert count_parameters(build(width)) <= 60_000 < count_parameters(build(width + 1))
    with pytest.raises(UserError, match="the smallest model of this kind has"):
        width_for(build, 10)


def test_a_model_can_be_made_without_its_numbers():
    data = images()
    with torch.device("meta"):
        hollow = flow_model(data.format, 3)
    assert count_parameters(hollow) == count_parameters(flow_model(data.format, 3))


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: FlowModel(maf(3, 1, (4,)), (2,)), "base density of 3 numbers"),
        (lambda: FlowModel(maf(2, 1, (4,)), (2,), cell=-1.0), "at least 0; got -1"),
        (lambda: conditional().log_prob(torch.zeros(2, 2), torch.tensor([0, 3])), "class 3 is outside 0 … 2"),
        (lambda: conditional().log_prob(torch.zeros(2, 2), torch.tensor([0.0, 1.0])), "must be integers"),
        (lambda: conditional().log_prob(torch.zeros(2, 2), torch.tensor([0])), r"shape \(2,\)"),
        (lambda: conditional().loss("loss", Batch(torch.zeros(2, 2)), Draws.of(0, range(2))), "this batch has none"),
        (lambda: conditional().encode(torch.zeros(2, 2)), "knows 3 classes"),
        (lambda: plain().draw(Draws.of(0, [0]), torch.tensor([0])), "without labels"),
        (
            lambda: plain().loss("loss", Batch(torch.tensor([[0.0, math.nan]])), Draws.of(0, [0])),
            "nan at sample 0, entry 1",
        ),
        (lambda: outside(), "outside the domain of this bijection"),
        (lambda: sized(layers=0), "transforms=0"),
        (lambda: sized(width=0), r"hidden\[0\]=0"),
    ],
)
def test_mistakes_get_one_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        make()
    assert "\n" not in str(error.value)


def sized(**sizes):
    data = load(np.zeros((20, 2), np.float32) + np.arange(20, dtype=np.float32)[:, None])
    return flow_model(data.format, **sizes)


def conditional():
    return FlowModel(maf(2, 1, (4,), 3), (2,), 3)


def plain():
    return FlowModel(maf(2, 1, (4,)), (2,))


def outside():
    data = images()
    return flow_model(data.format, width=4, layers=1).log_prob(torch.full((2, 1, 4, 4), 1.5))
