"""The spline where splines go wrong: knots, ends, ties of float32, extreme parameters; and its written-out gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.flows.spline import Spline
from pushforward.flows.spline_bins import cumulation, mapped_plainly, mapped_unrolled
from pushforward.flows.spline_gradient import mapped
from pushforward.numerics.random import key, normal, uniform


def numbers(seed, *shape):
    return normal(torch.tensor([key("spline", seed)]), shape, torch.float64)[0]


def knots(spline, parameters):
    """The knots (bins + 1, M) in x and y, from the definition."""
    ends = []
    for part in parameters[: 2 * spline.bins].split(spline.bins):
        share = spline.smallest + (1 - spline.smallest * spline.bins) * torch.softmax(part, 0)
        ends.append(torch.cat((torch.zeros_like(part[:1]), share.cumsum(0))) * 2 * spline.bound - spline.bound)
    return ends


def reference(spline, x, parameters):
    """y by the published formula, in loops, for numbers strictly inside."""
    (xs, ys), raw = knots(spline, parameters), parameters[2 * spline.bins :]
    inner = (raw / (1 - raw.abs() / math.log(spline.smallest))).exp()
    slopes = torch.cat((torch.ones_like(x)[None], inner, torch.ones_like(x)[None]))
    out = []
    for i in range(len(x)):
        k = int((xs[:, i] <= x[i]).sum()) - 1
        w, h = xs[k + 1, i] - xs[k, i], ys[k + 1, i] - ys[k, i]
        s, theta = h / w, (x[i] - xs[k, i]) / w
        top = h * (s * theta**2 + slopes[k, i] * theta * (1 - theta))
        out.append(ys[k, i] + top / (s + (slopes[k + 1, i] + slopes[k, i] - 2 * s) * theta * (1 - theta)))
    return torch.stack(out)


@settings(max_examples=30)
@given(bins=st.integers(2, 12), bound=st.floats(0.5, 10), seed=st.integers(0, 99), size=st.floats(0, 4))
def test_spline_is_the_published_formula(bins, bound, seed, size):
    spline, m = Spline(bins, bound), 7
    parameters = size * numbers(seed, spline.count, m)
    x = (2 * uniform(torch.tensor([seed]), (m,), torch.float64)[0] - 1) * 0.999 * bound
    assert torch.allclose(spline.forward(x, parameters)[0], reference(spline, x, parameters), rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(bins=st.integers(2, 12), seed=st.integers(0, 99), size=st.floats(0, 3))
def test_value_and_slope_are_continuous_at_every_knot_and_at_the_ends(bins, seed, size):
    spline = Spline(bins, 3.0)
    one = size * numbers(seed, spline.count, 1)
    xs, ys = (ends[:, 0] for ends in knots(spline, one))
    parameters = one.expand(-1, bins + 1)
    at, below, above = (spline.forward(xs + e, parameters) for e in (0.0, -1e-9, 1e-9))
    assert torch.allclose(at[0], ys, atol=1e-9)
    for side in (below, above):
        assert torch.allclose(at[0], side[0], atol=1e-5)
        assert torch.allclose(at[1].exp(), side[1].exp(), rtol=1e-4, atol=1e-6)
    back, log_slope = spline.inverse(ys, parameters)
    assert torch.allclose(back, xs, atol=1e-7)
    assert torch.allclose(log_slope, -at[1], atol=1e-4)


@pytest.mark.parametrize("size", [0.0, 1.0, 10.0, 1e4])
def test_float32_stays_finite_increasing_and_inside_whatever_the_parameters(size):
    """Numbers one step apart around every knot, in float32, parameters up to where the bins are as small as allowed."""
    spline, m = Spline(), 64
    one = (size * numbers(3, spline.count, m)).float()
    xs = torch.cat(knots(spline, one.double())).float()
    near = torch.cat((xs, torch.nextafter(xs, xs + 1), torch.nextafter(xs, xs - 1)))
    x = near.sort(0).values
    parameters = one[:, None, :].expand(-1, len(x), -1).contiguous()
    for way in (spline.forward, spline.inverse):
        y, log_slope = way(x, parameters)
        assert torch.isfinite(y).all() and torch.isfinite(log_slope).all()
        assert (y.diff(dim=0) >= -2e-5 - 1e-5 * x.diff(dim=0) * size).all()
        inside = x.abs() <= spline.bound
        assert (y[inside].abs() <= spline.bound * (1 + 1e-6)).all()
        assert torch.equal(y[~inside].sign(), x[~inside].sign())


def test_ties_on_equal_bins_go_to_the_same_bin_in_both_directions():
    """Zero parameters: eighths of the interval are knots exactly, in float32 too, and the map is the identity."""
    spline = Spline(bins=8, bound=4.0)
    x = torch.linspace(-4, 4, 9)
    zeros = torch.zeros(spline.count, 9)
    for way in (spline.forward, spline.inverse):
        y, log_slope = way(x, zeros)
        assert torch.allclose(y, x, atol=1e-6)
        assert torch.allclose(log_slope, torch.zeros(9), atol=1e-5)


@settings(max_examples=30)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 1e4))
def test_float32_round_trip(seed, scale):
    spline = Spline()
    x = (scale * numbers(seed, 50)).float()
    parameters = numbers(seed + 1, spline.count, 50).float()
    y, log_slope = spline.forward(x, parameters)
    back, _ = spline.inverse(y, parameters)
    # A slope below one enlarges the rounding error of y.
    assert ((back - x).abs() <= 1e-4 * x.abs().clamp(min=1) + 2e-6 * (-log_slope).exp()).all()


def test_outside_the_interval_it_is_the_identity():
    spline = Spline(bound=2.0)
    x = torch.tensor([-1e4, -2.1, -2.0, 2.0, 2.1, 1e4], dtype=torch.float64)
    y, log_slope = spline.forward(x, numbers(0, spline.count, 6))
    assert torch.allclose(y, x, rtol=0, atol=1e-12)
    assert log_slope.abs().max() < 1e-12


@pytest.mark.parametrize("axis", [0, 1])
def test_written_gradients_are_those_of_automatic_differentiation(axis):
    m = 200
    u = (2 * uniform(torch.tensor([1]), (m,), torch.float64)[0] - 1).requires_grad_()
    p = (2 * numbers(2, 23, m)).requires_grad_()
    a, b = numbers(3, 2, m)

    def loss(way):
        value, log_slope = way(u, p, axis, 1e-3)[:2]
        return (a * value + b * log_slope).sum()

    ours, plain = (torch.autograd.grad(loss(way), (u, p)) for way in (mapped, mapped_plainly))
    for one, other in zip(ours, plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)

    def twice(way):
        first = torch.autograd.grad(loss(way), (u, p), create_graph=True)
        return torch.autograd.grad(sum(g.sin().sum() for g in first), (u, p))

    for one, other in zip(twice(mapped), twice(mapped_plainly), strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("axis", [0, 1])
def test_forward_mode_and_batched_gradients(axis):
    u = (2 * uniform(torch.tensor([1]), (6,), torch.float64)[0] - 1).requires_grad_()
    p = numbers(2, 23, 6).requires_grad_()
    for output in (0, 1):

        def ours(v, output=output):
            return mapped(v, p, axis, 1e-3)[output]

        def plain(v, output=output):
            return mapped_plainly(v, p, axis, 1e-3)[output]

        exact = torch.autograd.functional.jacobian(plain, u)
        assert torch.allclose(torch.func.jacfwd(ours)(u), exact, atol=1e-10)
        assert torch.allclose(torch.func.jacrev(ours)(u), exact, atol=1e-10)
        assert torch.allclose(torch.autograd.functional.jacobian(ours, u, vectorize=True), exact, atol=1e-10)
    only_slope = torch.autograd.grad(mapped(u, p, axis, 1e-3)[1].sum(), u)[0]
    assert torch.allclose(only_slope, exact.sum(0), atol=1e-10)


def test_knots_are_symmetric_to_the_bit():
    matrix = cumulation(8, 1e-3, torch.float32, torch.device("cpu"))[0]
    assert torch.equal(matrix[0], -matrix[-1])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bins", [2, 8])
def test_the_form_for_compilers_is_the_same_map(axis, bins):
    u = torch.linspace(-0.999, 0.999, 101, dtype=torch.float64).requires_grad_()
    p = (3 * numbers(6, 3 * bins - 1, 101)).requires_grad_()
    outcomes = []
    for way in (mapped_plainly, mapped_unrolled):
        value, log_slope = way(u, p, axis, 1e-3)[:2]
        outcomes.append((value, log_slope, *torch.autograd.grad((value + log_slope).sum(), (u, p))))
    for one, other in zip(*outcomes, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)
