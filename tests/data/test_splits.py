"""Held-out rows: a partition, stratified, a pure function of the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushforward.data import limits
from pushforward.data.limits import check_size, default_limit, human
from pushforward.data.splits import split, spread_order
from pushforward.errors import UserError


@given(
    st.integers(2, 60),
    st.integers(1, 5),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
    st.integers(0, 1000),
    st.booleans(),
)
def test_a_split_is_a_partition_with_something_in_each(count, classes, validation, test, seed, labelled):
    labels = np.random.default_rng(seed).integers(0, classes, count) if labelled else None
    parts = split(count, labels, validation, test, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    again = split(count, labels, validation, test, seed)
    for part, same, share in zip(parts, again, (1, validation, test), strict=True):
        np.testing.assert_array_equal(part, same)
        assert (np.diff(part) > 0).all()
        if count >= 3 and share > 0:
            assert len(part) >= 1
        if share == 0:
            assert len(part) == 0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 100), st.floats(0, 1))
def test_every_prefix_of_the_order_is_stratified(sizes, seed, share):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    order = spread_order(len(labels), labels, seed)
    prefix = round(share * len(labels))
    found = np.bincount(labels[order[:prefix]], minlength=len(sizes))
    assert np.abs(found - np.array(sizes) * prefix / len(labels)).max() <= 1.5


def test_the_order_within_a_class_is_random_and_follows_the_seed():
    labels = np.repeat([0, 1], 50)
    first, second = (spread_order(100, labels, seed) for seed in (0, 1))
    assert (first != second).any()
    inside = first[labels[first] == 0]
    assert abs(np.corrcoef(np.arange(50), inside)[0, 1]) < 0.5


def test_two_items_and_too_greedy_shares():
    assert [len(part) for part in split(2, None, 0.1, 0.1, 0)] == [1, 1, 0]
    with pytest.raises(UserError, match=r"Shares of 0.6 and 0.4 hold out everything"):
        split(10, None, 0.6, 0.4, 0)


def test_memory_is_said_in_units_for_people(monkeypatch, tmp_path):
    assert [human(n) for n in (5, 2048, 3 << 20, 5 << 40, 9 << 60)] == [
        "5 bytes",
        "2.0 KiB",
        "3.0 MiB",
        "5.0 TiB",
        "9,216.0 PiB",
    ]
    check_size("it", 10, 10)
    with pytest.raises(UserError, match="it needs 11 bytes in memory, and the limit is 10 bytes"):
        check_size("it", 11, 10)
    (tmp_path / "max").write_text("3000\n")
    monkeypatch.setattr(limits, "_CGROUP", tmp_path / "max")
    assert default_limit() == 1000
    (tmp_path / "max").write_text("max\n")
    assert default_limit() > 1000
    monkeypatch.delattr("os.sysconf")
    assert default_limit() == 8 << 30
