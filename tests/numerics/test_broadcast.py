"""A number per sample against the same arithmetic written as a loop over samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.numerics.broadcast import batch_of, expand, mean_per_sample, sum_per_sample
from pushforward.numerics.random import keys, normal

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


def batch(shape, dtype=torch.float64):
    return normal(keys(0, range(shape[0])), shape[1:], dtype)


@given(shapes)
def test_expand_multiplies_each_sample_by_its_own_number(shape):
    x, c = batch(shape), batch(shape[:1])
    expected = torch.stack([c[i] * x[i] for i in range(shape[0])])
    assert torch.equal(expand(c, x) * x, expected)
    assert (expand(c, x) * x).shape == x.shape  # also where x is (B,): (B,) · (B, 1) would be (B, B)


@pytest.mark.parametrize("shape", [(2, 2), (3, 3, 3), (4, 4, 4, 4)])
def test_a_square_batch_is_scaled_along_its_first_axis(shape):
    """Where every axis has the size of the batch, torch alone would broadcast along the last one, silently."""
    x, c = torch.ones(shape), torch.arange(float(shape[0]))
    scaled = expand(c, x) * x
    assert all(bool((scaled[i] == i).all()) for i in range(shape[0]))
    assert not torch.equal(c * x, scaled)


@given(shapes, st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_float64_coefficients_do_not_promote_the_state(shape, dtype):
    x, c = batch(shape, dtype), batch(shape[:1], torch.float64)
    assert (expand(c, x) * x).dtype == dtype
    assert (expand(c.sum(), x) * x).dtype == dtype
    assert (expand(0.1, x) * x).dtype == dtype


def test_numbers_pass_through():
    x = torch.zeros(3, 2)
    assert expand(0.25, x) == 0.25 and isinstance(expand(0.25, x), float)
    assert expand(torch.tensor(0.25), x).shape == ()


def test_gradients_flow_to_the_coefficients():
    x = batch((3, 2, 2))
    c = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (expand(c, x) * x).sum().backward()
    assert torch.equal(c.grad, sum_per_sample(x))


@given(shapes)
def test_sums_and_means_are_over_everything_but_the_batch(shape):
    x = batch(shape)
    torch.testing.assert_close(sum_per_sample(x), torch.stack([x[i].sum() for i in range(shape[0])]))
    torch.testing.assert_close(mean_per_sample(x), torch.stack([x[i].mean() for i in range(shape[0])]))


def test_batch_of_is_what_a_network_takes_as_its_time():
    cpu = torch.device("cpu")
    per_sample = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    for value, expected in (
        (0.5, [0.5] * 3),
        (1, [1.0] * 3),
        (torch.tensor(0.5, dtype=torch.float64), [0.5] * 3),
        (per_sample, per_sample.tolist()),
    ):
        t = batch_of(value, 3, cpu)
        assert t.dtype == torch.float32 and t.shape == (3,)
        assert t.tolist() == pytest.approx(expected, abs=1e-7)
