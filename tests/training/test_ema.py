"""Averages of the weights against their closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pushforward.errors import UserError
from pushforward.training.ema import ExponentialAverage, PowerAverage, exponent, full_state, name_of, using


@given(st.floats(0.01, 0.28))
def test_exponent_gives_the_width_it_was_asked_for(length):
    gamma = exponent(length)
    assert gamma > 0
    assert math.isclose(math.sqrt(gamma + 1) / ((gamma + 2) * math.sqrt(gamma + 3)), length, rel_tol=1e-6)


def test_published_exponents():
    assert [round(exponent(length), 2) for length in (0.05, 0.10)] == [16.97, 6.94]


@pytest.mark.parametrize("length", [0.0, 0.3, -1.0, float("nan")])
def test_impossible_lengths_are_refused(length):
    with pytest.raises(UserError, match=r"between 0 and 0\.288"):
        exponent(length)


@pytest.mark.parametrize("length", [0.05, 0.2])
def test_average_is_the_closed_form_sum(length):
    """Unrolled, the weight of the value after update τ is (τ^(γ+1) − (τ−1)^(γ+1)) / t^(γ+1)."""
    values = torch.sin(torch.arange(1, 201, dtype=torch.float64) * 0.37)
    live = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    average = PowerAverage({"w": live}, length)
    for count, value in enumerate(values, 1):
        with torch.no_grad():
            live.fill_(value)
        average.update(count)
    power = exponent(length) + 1
    edges = (torch.arange(0, 201, dtype=torch.float64) / 200) ** power
    assert torch.allclose(average.tensors["w"], (edges.diff() * values).sum(), rtol=1e-12)


def test_an_exponential_average_begins_with_the_first_weights():
    live = nn.Parameter(torch.full((1,), 5.0, dtype=torch.float64))
    average = ExponentialAverage({"w": live}, 0.9)
    assert average.name == "ema-decay-0.9"
    with torch.no_grad():
        live.fill_(1.0)
    for count in range(1, 31):
        average.update(count)
    assert math.isclose(float(average.tensors["w"]), 1 + 4 * 0.9**30, rel_tol=1e-12)


def test_relative_width_is_the_length():
    """σ_rel: the standard deviation of the profile in units of the training so far."""
    power, count = exponent(0.1) + 1, 20_000
    edges = (torch.arange(0, count + 1, dtype=torch.float64) / count) ** power
    weight, time = edges.diff(), torch.arange(1, count + 1, dtype=torch.float64) / count
    mean = (weight * time).sum()
    assert math.isclose(float((weight * (time - mean) ** 2).sum().sqrt()), 0.1, rel_tol=1e-3)


def test_using_puts_the_weights_back_to_the_bit_even_after_an_error():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(KeyError), using(model, {"0.weight": torch.ones(3, 3)}):
        assert bool((model[0].weight == 1).all()) and not model[0].training
        raise KeyError
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model[0].training and not model[1].training


def test_tied_weights_and_buffers_are_in_the_full_state():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    state = full_state(model, {n: torch.full_like(p, 7) for n, p in model.named_parameters()})
    assert state.keys() == model.state_dict().keys()
    assert bool((state["1.weight"] == 7).all()) and torch.equal(state["2.running_var"], torch.ones(3))
    assert name_of(0.05) == "ema-0.050"
