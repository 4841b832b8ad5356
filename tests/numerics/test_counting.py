"""Categorical and Poisson draws: tails as they are, nothing impossible, independent of the batch."""

import math

import pytest
import torch

from pushforward.numerics.counting import categorical, poisson
from pushforward.numerics.random import Draws


@pytest.mark.parametrize("tail", [1e-2, 1e-3])
def test_tails_are_drawn_at_their_mass(tail):
    symbols, n = 500, 40_000
    weights = torch.full((symbols,), tail / (symbols - 1), dtype=torch.float64)
    weights[0] = 1 - tail
    found = categorical(weights.expand(100, n // 100, symbols), Draws.of(0, range(100), "tail"))
    assert abs(float((found > 0).double().mean()) - tail) < 4 * math.sqrt(tail / n)


def test_frequencies_and_impossible_states():
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0, 4.0, 0.0])
    found = categorical(weights.expand(2000, 10, 6), Draws.of(1, range(2000), "law"))
    share = torch.bincount(found.flatten(), minlength=6).double() / found.numel()
    assert share[[0, 2, 5]].sum() == 0
    assert (share - weights.double() / 8).abs().max() < 4 * math.sqrt(0.25 / found.numel())


def test_draws_do_not_depend_on_the_batch():
    weights = torch.rand(6, 3, 7)
    draws = Draws.of(2, range(6), "batch")
    assert torch.equal(categorical(weights, draws)[4:], categorical(weights[4:], draws[4:]))


def test_poisson_counts():
    rate = torch.tensor([0.0, 0.3, 4.0, 40.0, 600.0, 3e4], dtype=torch.float64).expand(20_000, 6)
    found = poisson(rate, Draws.of(3, range(20_000), "poisson")).double()
    assert found[:, 0].max() == 0
    for i in range(1, 6):
        mean = float(rate[0, i])
        assert abs(float(found[:, i].mean()) - mean) < 4 * math.sqrt(mean / 20_000)
        assert float(found[:, i].var()) == pytest.approx(mean, rel=0.06)
