"""Constraints, rules and parametrisations, and what is said of those that cannot work."""

import math

import pytest
import torch

from pushforward.errors import NumericalError, UserError
from pushforward.numerics.random import Draws
from pushforward.paths.processes import VP
from pushforward.plugplay import (
    Annealed,
    AnnealedTimes,
    DenoisingEnergy,
    Descent,
    LangevinSampling,
    SmoothedEnergy,
    flip_symmetry,
    of_class,
)
from pushforward.verification import plugplay

DOUBLE = torch.float64
WEIGHT = torch.ones(1, dtype=DOUBLE, requires_grad=True)
"""Of a classifier: what is computed from it has a gradient, though not with respect to x."""


def solve(constraint, method=None, **more):
    x = torch.zeros(3, 1, dtype=DOUBLE)
    return (method or Descent(3))(DenoisingEnergy(plugplay.prior()), constraint, x, Draws.of(0, range(3)), **more)


@pytest.mark.parametrize(
    ("constraint", "error", "words"),
    [
        (lambda x: (x[:, 0] - 5).log(), NumericalError, "logarithm"),
        (lambda x: x[:, 0].detach(), UserError, "no gradient"),
        (lambda x: torch.from_numpy(x.numpy())[:, 0], UserError, "no gradient"),
        (lambda x: (x.detach() * WEIGHT)[:, 0], UserError, "no gradient"),
        (lambda x: (x[:, 0] > 0).double(), UserError, "no gradient"),
        (lambda x: x.square().mean(), UserError, "one number for each of the 3 items"),
        (lambda x: 1.0, UserError, "a float"),
        (lambda x: x[:, 0].abs().sqrt(), NumericalError, "gradient"),
    ],
)
def test_a_constraint_that_cannot_work_is_named(constraint, error, words):
    for method in (Descent(3), LangevinSampling(3)):
        with pytest.raises(error, match=words):
            solve(constraint, method)


def test_a_parametrisation_without_gradient_is_named():
    with pytest.raises(UserError, match="h"):
        solve(plugplay.seen, h=lambda eta: eta.detach())


def test_a_parametrisation_is_the_same_problem():
    """x = h(η) = 2η − 1: the minimum over η is h⁻¹ of the minimum over x."""
    energy = SmoothedEnergy(plugplay.prior(), pairs=True)
    descent = Descent(120, 0.05, schedule=Annealed(5.0, 0.02))
    start = torch.full((1, 1), 0.5, dtype=DOUBLE)
    eta = descent(energy, plugplay.seen, start, Draws.of(0, [0]), h=lambda e: 2 * e - 1)
    assert abs(float(2 * eta - 1) - plugplay.MEAN) < 0.02


def test_a_rule_is_obeyed_to_the_bit():
    x = solve(plugplay.seen, rule=lambda x: x.clamp(max=0.01))
    assert float(x.max()) <= 0.01
    y = solve(plugplay.seen, Descent(30, 0.1), rule=lambda x: x.clamp(max=0.25))
    assert bool((y <= 0.25).all()) and bool((y == 0.25).any())  # the minimum, 0.6, is beyond it


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        (lambda x: x[:1], UserError, "the shape"),
        (lambda x: None, UserError, "a NoneType"),
        (lambda x: x / 0, NumericalError, "rule"),
    ],
)
def test_a_rule_that_cannot_work_is_named(rule, error, words):
    for method in (Descent(2), LangevinSampling(2)):
        with pytest.raises(error, match=words):
            solve(plugplay.seen, method, rule=rule)


def test_a_start_that_cannot_work_is_named():
    energy = DenoisingEnergy(plugplay.prior())
    for start, count, words in (
        (torch.zeros(3, 1, dtype=DOUBLE), 1, "draws of 1"),
        (torch.zeros(3, 1, dtype=torch.int64), 3, "int64"),
        (torch.full((3, 1), torch.nan), 3, "finite"),
    ):
        with pytest.raises(UserError, match=words):
            Descent(2)(energy, plugplay.seen, start, Draws.of(0, range(count)))
    with pytest.raises(UserError, match="the shape"):
        solve(plugplay.seen, h=lambda eta: eta.sum())
    with pytest.raises(UserError, match="period"):
        AnnealedTimes(period=0.0)


def test_items_do_not_depend_on_the_batch():
    energy = DenoisingEnergy(plugplay.prior())
    start = torch.linspace(-1, 1, 4, dtype=DOUBLE)[:, None]
    both = Descent(5)(energy, plugplay.seen, start, Draws.of(0, range(4)))
    alone = Descent(5)(energy, plugplay.seen, start[2:3], Draws.of(0, [2]))
    assert torch.equal(both[2:3], alone)


def test_annealing_goes_from_noise_to_data():
    path, schedule = VP(), Annealed(5.0, 0.05)
    ratios = [schedule(path, i, 50).ratio for i in range(50)]
    assert ratios == sorted(ratios, reverse=True)
    assert math.isclose(ratios[0], 5.0, rel_tol=1e-6) and math.isclose(ratios[-1], 0.05, rel_tol=1e-6)
    wobbly = [AnnealedTimes()(path, i, 500).t for i in range(500)]
    assert wobbly[0] == 1.0 and wobbly[-1] == path.t_min and wobbly != sorted(wobbly, reverse=True)
    published = [min(1.0, (1 - i / 499) * (1 + 0.25 * math.cos(i / 50))) for i in range(500)]
    assert max(abs(a - max(b, path.t_min)) for a, b in zip(wobbly, published, strict=True)) < 1e-12


def test_a_class_and_a_mirror():
    x = torch.tensor([[[[1.0, 0.0, 1.0]]], [[[1.0, 0.0, 0.0]]]])
    assert flip_symmetry(x).tolist() == pytest.approx([0.0, 2 / 3])
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    cost = of_class(lambda _: logits, torch.tensor([0, 0]))(x)
    assert cost.tolist() == pytest.approx([math.log1p(math.exp(-2)), math.log1p(math.exp(2))])


@pytest.mark.slow
def test_langevin_draws_have_the_posterior_variance():
    assert plugplay.langevin(items=400).error < 0.3
