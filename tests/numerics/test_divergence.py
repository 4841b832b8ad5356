"""Divergences against matrices and autograd's full Jacobian; the statistics of the probes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import UserError
from pushforward.numerics.divergence import Exact, Hutchinson, divergence, gaussian, rademacher
from pushforward.numerics.random import Draws, key, normal


def matrix(d, seed=0):
    return normal(torch.tensor([key(seed, "matrix")]), (d, d), torch.float64)[0]


def curved(x):
    """A field whose coordinates all see each other."""
    flat = x.flatten(1)
    return (torch.tanh(flat @ matrix(flat.shape[1], 1)) * flat.square().sum(1, keepdim=True)).reshape(x.shape)


@given(st.integers(1, 9), st.integers(1, 10))
def test_a_linear_field_has_its_trace(d, chunk):
    a, x = matrix(d), torch.ones(3, d, dtype=torch.float64)
    value, found, error = divergence(lambda x: x @ a.T, x, Exact(chunk))
    assert torch.allclose(value, x @ a.T)
    assert torch.allclose(found, a.trace().expand(3)) and (error == 0).all()


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_a_curved_field_has_the_trace_of_its_jacobian(chunk):
    x = normal(torch.tensor([1, 2, 3]), (2, 3), torch.float64)
    jacobians = torch.stack([torch.autograd.functional.jacobian(curved, v[None]).reshape(6, 6) for v in x])
    _, found, _ = divergence(curved, x, Exact(chunk))
    assert torch.allclose(found, jacobians.diagonal(dim1=1, dim2=2).sum(1))


def test_a_constant_field_has_none():
    x = torch.ones(2, 3)
    value, found, _ = divergence(lambda x: torch.ones(2, 3), x)
    assert torch.equal(value, x) and torch.equal(found, torch.zeros(2, dtype=torch.float64))


def test_under_no_grad_and_inference_mode():
    x = torch.ones(2, 3, dtype=torch.float64)
    expected = divergence(curved, x)[1]
    with torch.no_grad():
        assert torch.equal(divergence(curved, x)[1], expected)
    with torch.inference_mode():
        assert torch.equal(divergence(curved, x * 1)[1], expected)


def test_accumulates_in_float64_and_leaves_no_graph():
    layer = torch.nn.Linear(4, 4)
    value, found, _ = divergence(layer, torch.ones(2, 4))
    assert value.dtype == torch.float32 and found.dtype == torch.float64
    assert not value.requires_grad and not found.requires_grad
    assert layer.weight.grad is None


@pytest.mark.parametrize("law", [rademacher, gaussian])
def test_probes_are_unbiased_with_the_variance_of_their_law(law):
    """Var εᵀAε = 2 Σ_{i≠j} S_ij² + (κ − 1) Σ S_ii², S the symmetric part, κ = 1 for ±1 and 3 for normals."""
    a = matrix(5)
    s = (a + a.T) / 2
    kappa = 1.0 if law is rademacher else 3.0
    on = s.diagonal().square().sum()
    variance = float(2 * (s.square().sum() - on) + (kappa - 1) * on)
    n, k = 1000, 20
    rule = Hutchinson(Draws.of(0, range(n)), k, law)
    columns = rule.of(torch.zeros(n, 5, dtype=torch.float64))(lambda x: x @ a.T, torch.zeros(n, 5).double(), None)[1]
    assert columns.shape == (n, k)
    assert abs(float(columns.mean() - a.trace())) < 4 * math.sqrt(variance / (n * k))
    assert float(columns.var()) == pytest.approx(variance, rel=0.08)


def test_rademacher_is_exact_on_diagonal_fields():
    x = torch.ones(4, 6, dtype=torch.float64)
    _, found, _ = divergence(lambda x: x**3, x, Hutchinson(Draws.of(3, range(4))))
    assert torch.allclose(found, torch.full((4,), 18.0, dtype=torch.float64))


def test_standard_error_is_the_spread_of_the_mean():
    a, n = matrix(6), 2000
    x = torch.zeros(n, 6, dtype=torch.float64)
    _, found, error = divergence(lambda x: x @ a.T, x, Hutchinson(Draws.of(1, range(n)), 8))
    assert float(found.std()) == pytest.approx(float(error.square().mean().sqrt()), rel=0.08)
    assert divergence(lambda x: x @ a.T, x, Hutchinson(Draws.of(1, range(n))))[2].isnan().all()


def test_probes_do_not_depend_on_the_batch_or_the_chunk():
    x = normal(torch.arange(5), (4,), torch.float64)
    draws = Draws.of(7, range(5))
    together = divergence(curved, x, Hutchinson(draws, 6, chunk=4))[1]
    some = torch.tensor([3, 1])
    assert torch.allclose(divergence(curved, x[some], Hutchinson(draws, 6).rows(some))[1], together[some])
    trace = Hutchinson(draws, 6).of(x)
    assert torch.allclose(trace(curved, x[some], some)[1].mean(1), together[some])
    other = divergence(curved, x, Hutchinson(draws, 6).at("repeat", 1))[1]
    assert not torch.allclose(other, together, rtol=1e-3)
    assert Exact().at("repeat", 1).rows(some) == Exact()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Exact(0), "at least one coordinate; got 0"),
        (lambda: Hutchinson(Draws.of(0, [0]), 0), "one probe is needed"),
        (lambda: Hutchinson(Draws.of(0, [0])).of(torch.ones(3, 2)), "3 samples and 1 keys"),
    ],
)
def test_wrong_settings(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_methods_say_what_they_are():
    assert Exact().method == "exact divergence"
    assert Hutchinson(Draws.of(0, [0])).method == "Hutchinson, 1 probe"
    assert Hutchinson(Draws.of(0, [0]), 4).method == "Hutchinson, 4 probes"
