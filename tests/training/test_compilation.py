"""Which networks of a model are compiled, and that nothing of it is left afterwards."""

from __future__ import annotations

import torch
from torch import nn

from pushforward.data.dataset import Batch
from pushforward.denoisers.precondition import EDMPrediction
from pushforward.models.diffusion import Diffusion
from pushforward.networks import MLP
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.paths.times import LogNormalTimes
from pushforward.training.compilation import as_written, compile_networks, networks_of
from pushforward.training.recipe import FREE, Recipe


def model():
    torch.manual_seed(0)
    return Diffusion(MLP(3, 8, 1), EDM(), EDMPrediction(1.0), LogNormalTimes(sigma_data=1.0), (3,))


def test_networks_are_the_outermost_modules_that_are_called_and_trained():
    holder = nn.Module()
    holder.inner, holder.frozen = model(), nn.Linear(2, 2).requires_grad_(False)
    assert list(networks_of(holder)) == [holder.inner.network]


def test_a_compiled_network_is_called_through_the_compiler_and_is_itself_again_afterwards(monkeypatch):
    calls = []

    def compiler(function, *args, **kwargs):
        return lambda *a, **k: calls.append(1) or function(*a, **k)

    monkeypatch.setattr(torch, "compile", compiler)
    whole = model()
    names = list(whole.state_dict())
    batch, draws = Batch(Draws.of(0, range(4)).normal((3,))), Draws.of(1, range(4))
    plain = whole.loss("loss", batch, draws)
    compiled = compile_networks(whole)
    assert torch.equal(whole.loss("loss", batch, draws), plain) and calls == [1]
    assert list(whole.state_dict()) == names
    as_written(compiled)
    whole.loss("loss", batch, draws)
    assert calls == [1]


def test_it_is_part_of_what_a_run_is():
    assert "compile" not in FREE and not Recipe(steps=1).compile
