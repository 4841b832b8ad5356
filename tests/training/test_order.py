"""The order of the data, the shares of processes and the schedule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import UserError
from pushforward.training.order import Order, chunks
from pushforward.training.schedule import Constant, Cosine, learning_rate


@given(items=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 3))
def test_every_item_comes_once_per_epoch(items, batch, seed):
    order = Order(seed, items, batch)
    steps = -(-3 * items // batch)
    sequence = torch.cat([order.indices(step) for step in range(steps)])
    assert len(sequence) == steps * batch
    for epoch in range(3):
        assert sorted(sequence[epoch * items : (epoch + 1) * items].tolist()) == list(range(items))


def test_order_is_a_function_of_the_step_alone():
    whole = Order(0, 30, 7)
    expected = [whole.indices(step) for step in range(20)]
    for step in (19, 3, 11):
        assert torch.equal(Order(0, 30, 7).indices(step), expected[step])
    assert not torch.equal(Order(1, 30, 7).indices(0), expected[0])
    assert not torch.equal(torch.cat(expected)[:30], torch.cat(expected)[30:60])


def test_no_data_is_refused():
    with pytest.raises(UserError, match="empty"):
        Order(0, 0, 4)


@given(count=st.integers(1, 50), world=st.integers(1, 9), accumulate=st.integers(1, 9))
def test_chunks_cover_every_slot_once_and_are_equally_many(count, world, accumulate):
    parts = [chunks(count, world, rank, accumulate) for rank in range(world)]
    assert sorted(slot for p in parts for slots, weight in p if weight for slot in slots) == list(range(count))
    assert {len(p) for p in parts} == {accumulate}
    assert all(len(slots) for p in parts for slots, _ in p)


def test_schedules():
    assert Cosine()(0, 100) == 1 and abs(Cosine()(50, 100) - 0.5) < 1e-12 and abs(Cosine()(100, 100)) < 1e-12
    assert abs(Cosine(0.1)(100, 100) - 0.1) < 1e-12 and Cosine(0.1)(200, 100) == Cosine(0.1)(100, 100)
    rates = [learning_rate(2.0, Constant(), 4, step, 100) for step in range(6)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert learning_rate(2.0, Constant(), 0, 0, 100) == 2.0
