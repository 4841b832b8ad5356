"""The masked network sees what it may, and its unrolled form computes the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.errors import UserError
from pushforward.networks.made import MADE, ColumnMLP, hidden_degrees
from pushforward.numerics.random import key, normal, permutation


def numbers(seed, *shape):
    return normal(torch.tensor([key("made", seed)]), shape, torch.float64)[0]


def stirred(net):
    net.double()
    for i, parameter in enumerate(net.parameters()):
        parameter.data = numbers(i, *parameter.shape)
    return net


@settings(max_examples=30)
@given(
    d=st.integers(1, 7),
    hidden=st.lists(st.integers(1, 12), min_size=0, max_size=3),
    c=st.integers(0, 3),
    grad=st.booleans(),
    seed=st.integers(0, 50),
)
def test_outputs_see_earlier_features_only_and_unroll_agrees(d, hidden, c, grad, seed):
    order = permutation(seed, d).tolist()
    net = stirred(MADE(d, 2, hidden, c, order=order))
    x, context = numbers(seed, d, 1), numbers(seed + 1, 1, c) if c else None
    sees = torch.autograd.functional.jacobian(lambda v: net(v, context).sum((0, 2)), x)[:, :, 0] != 0
    place = torch.argsort(torch.tensor(order))
    assert not (sees & (place[:, None] <= place[None])).any()
    x = numbers(seed, d, 4)
    context = numbers(seed + 1, 4, c) if c else None
    outputs = net(x, context)
    seen = {}

    def step(i, parameters):
        seen[i] = parameters
        return x[i]

    with torch.set_grad_enabled(grad):
        assert torch.equal(net.unroll(x, step, context), x)
    assert list(seen) == order
    assert torch.allclose(torch.stack([seen[i] for i in range(d)], 1), outputs, atol=1e-12)


def test_every_output_sees_every_earlier_feature():
    net = stirred(MADE(4, 1, (64, 64), order=[2, 0, 3, 1]))
    some = [
        torch.autograd.functional.jacobian(lambda v: net(v)[0, :, 0], numbers(i, 4, 1))[:, :, 0] != 0 for i in range(8)
    ]
    place = torch.tensor([1, 3, 0, 2])
    assert torch.equal(torch.stack(some).any(0), place[:, None] > place[None])


def test_a_condition_reaches_the_first_feature():
    net = stirred(MADE(3, 1, (16,), 2))
    context = numbers(1, 4, 2)
    first = net(numbers(0, 3, 4), context)[0, 0]
    assert (first != net(numbers(0, 3, 4), context + 1)[0, 0]).all()


def test_degrees_are_sorted_and_spread():
    assert hidden_degrees(8, 5, False).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert hidden_degrees(5, 5, True).tolist() == [0, 1, 2, 3, 4]
    assert hidden_degrees(3, 1, False).tolist() == [0, 0, 0]


def test_outputs_are_small_at_the_start_whatever_they_see():
    """Not zero, or the hidden layers would learn nothing at first; none much larger for seeing more or fewer."""
    x = numbers(0, 12, 500).float()
    for net in (MADE(12, 2), ColumnMLP(12, 12, 2)):
        size = net(x).detach().square().mean((0, 2)).sqrt()
        assert float(size.min()) > 0.001 and float(size.max()) < 0.05
    assert torch.equal(ColumnMLP(3, 2, 1, ())(x[:3]), torch.zeros(1, 2, 500))


def test_a_network_may_have_no_inputs():
    net = stirred(ColumnMLP(0, 3, 2, (5,)))
    assert net(numbers(0, 0, 4)).shape == (2, 3, 4)
    with pytest.raises(UserError, match="features=0"):
        ColumnMLP(1, 0, 2)
    with pytest.raises(UserError, match="features=0"):
        MADE(0, 2)
