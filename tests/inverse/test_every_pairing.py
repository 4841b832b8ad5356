"""Every method and every sampler that has a name, with diffusion and flow-matching models, labels and guidance."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from pushforward.config.methods import METHODS
from pushforward.config.samplers import SAMPLERS, build_sampler
from pushforward.denoisers import (
    Denoiser,
    EDMPrediction,
    FlowPrediction,
    NetworkDenoiser,
    NoisePrediction,
    guided,
)
from pushforward.errors import UserError
from pushforward.inverse import DDRM, MMPS, DiffPIR, Gaussian, Guidance, Mask, PiGDM, posterior_samples
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, Straight, Table, linear_betas
from pushforward.posterior import Question, infer

SHAPE = (1, 4, 4)
MASK = Mask(torch.arange(16).reshape(4, 4) % 2 > 0)
MODELS = {
    "EDM": (EDM(sigma_max=20.0), EDMPrediction(0.5)),
    "flow matching": (Straight(), FlowPrediction()),
    "DDPM": (Table.of_betas(linear_betas(100)), NoisePrediction()),
}
REASONS = {
    "α > 0": "a straight path begins with nothing but noise, where this step divides by α",
    "α = 0": "the same",
    "needs Var[x_0 | x_t]": "a variance estimated on the model's data is asked for",
    "t = 1": "the same as α > 0",
    "clean data": "the sampler ends above it and has to be told",
    "use more steps": "the budget is too small for its stages",
}
"""Words of the sentences with which a pairing may be refused, and why."""


class Labelled(nn.Module):
    """A small network of a state and a label."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.label = nn.Linear(16, 16), nn.Embedding(3, 16)
        for i, p in enumerate(self.parameters()):
            p.data = 0.2 * Draws.of(i, [0], "weights").normal(p.shape)[0]

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        h = torch.tanh(self.mix(x.flatten(1)) + time[:, None])
        return (h + (0 if label is None else self.label(label))).reshape(x.shape)


EVALUATIONS = {"exact": 80, "tempering": 120, "twisted": 8, "flow": 462}
"""What takes more than a few evaluations, or draws that are weighed together."""


def denoisers(name: str) -> tuple[Denoiser, Denoiser]:
    """The model with a label, and with classifier-free guidance towards it."""
    path, prediction = MODELS[name]
    network = NetworkDenoiser(path, Labelled(), prediction, accepts=("label",))
    one, other = (network.given(label=torch.full((2,), k)) for k in (0, 1))
    return one, guided(one, other, 2.0)


def seen() -> Gaussian:
    truth = 0.3 * Draws.of(7, range(2), "y").normal(SHAPE)
    return Gaussian(MASK, MASK(truth), torch.tensor([0.1, 0.2]))


def start(name: str) -> Tensor:
    return MODELS[name][0].prior(Draws.of(7, range(2), "prior").normal(SHAPE))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_restores_with_labels_and_guidance(method, model):
    likelihood, evaluations = seen(), EVALUATIONS.get(method, 8)
    labelled, guided_found = (
        infer(
            METHODS[method].build(likelihood),
            Question(denoiser, likelihood, SHAPE, 2),
            samples=8 if method == "tempering" else 2,
            evaluations=evaluations,
        ).samples
        for denoiser in denoisers(model)
    )
    assert torch.isfinite(labelled).all() and torch.isfinite(guided_found).all()
    assert not torch.allclose(labelled, guided_found, atol=1e-3)  # the weight reaches the network


def test_a_condition_of_all_items_is_that_of_each():
    path, prediction = MODELS["EDM"]
    network = NetworkDenoiser(path, Labelled(), prediction, accepts=("label",))
    one, each = (guided(network.given(label=k), network.given(label=0 * k), 2.0) for k in LABELS)
    found = [
        posterior_samples(DDRM(), bound, seen(), SHAPE, items=2, samples=2, evaluations=3) for bound in (one, each)
    ]
    assert torch.equal(*found)
    three = replace(each, weight=torch.tensor([2.0, 2.0, 2.0]))
    with pytest.raises(UserError, match="there are 2 values of label and at least 3 items"):
        three.rows(torch.arange(3))


LABELS = torch.tensor([1]), torch.tensor([1, 1])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_takes_every_kind_of_rule(name, model):
    """MMPS and PiGDM ask for gradients of the network, DiffPIR does not; what is refused says why."""
    path, prediction = MODELS[model]
    _, prior = denoisers(model)
    rules = (PiGDM(),) if SAMPLERS[name].adaptive else (PiGDM(), MMPS(2), DiffPIR())
    for rule in rules:
        try:
            sampler = build_sampler(name, SimpleNamespace(path=path, prediction=prediction, tells_variance=False), 10)
            with torch.no_grad():
                found = Guidance(rule, sampler).restore(prior, seen(), start(model), 10, Draws.of(1, range(2)))
        except UserError as reason:
            assert any(words in str(reason) for words in REASONS), str(reason)
            continue
        assert torch.isfinite(found).all(), rule
