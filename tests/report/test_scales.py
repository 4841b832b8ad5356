"""Axes and numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushforward.report.scales import Scale, number

finite = st.floats(-1e9, 1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (1, "1"),
        (0.5, "0.5"),
        (-2.25, "−2.25"),
        (1234, "1\u2009234"),
        (123456, "123\u2009456"),
        (0.00123, "0.00123"),
        (1e-5, "10⁻⁵"),
        (2.5e7, "2.5·10⁷"),
        (-3e8, "−3·10⁸"),
        (99.96, "100"),
        (math.nan, "not finite"),
        (-math.inf, "not finite"),
    ],
)
def test_numbers_as_a_reader_wants_them(value, written):
    assert number(value) == written


def test_measured_numbers_keep_their_digits():
    assert number(2.2, trim=False) == "2.20"
    assert number(0.01, 2, trim=False) == "0.010"


@given(st.floats(1e-6, 1e8))
def test_three_digits_are_kept(value):
    plain = (
        number(value).replace("\u2009", "").replace("·10", "e").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    )
    plain = "1e" + plain[2:] if plain.startswith("10-") else plain
    if "e" in plain or value < 1e6:
        assert float(plain) == pytest.approx(value, rel=6e-3)


@given(st.lists(finite, min_size=1, max_size=20))
def test_every_value_lies_on_the_paper_and_order_is_kept(values):
    scale = Scale.around(values, 10, 110)
    places = [scale(v) for v in sorted(values)]
    assert all(10 - 1e-6 <= p <= 110 + 1e-6 for p in places)
    assert places == sorted(places)


@given(finite, st.floats(1e-3, 1e6), st.booleans())
def test_ticks_are_round_few_and_inside(low, span, log):
    scale = Scale.around([abs(low) + 1, abs(low) + 1 + span] if log else [low, low + span], 0, 100, log)
    ticks = scale.ticks()
    assert len(ticks) <= 14
    slack = 1e-6 * (scale.high - scale.low) + 1e-9 * abs(scale.high)
    assert all(scale.low - slack <= t <= scale.high + slack for t in ticks)
    assert ticks == sorted(set(ticks))


def test_ticks_of_known_ranges():
    assert Scale(0, 1, 0, 1).ticks() == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert Scale(-3, 3, 0, 1).ticks() == [-2, 0, 2]
    assert Scale(1, 1e4, 0, 1, True).ticks() == [1, 10, 100, 1000, 10000]
    assert Scale(0.3, 40, 0, 1, True).ticks() == [1, 10]
    assert Scale(0.3, 20, 0, 1, True).ticks() == [0.5, 1, 2, 5, 10, 20]
    assert Scale(2, 4, 0, 1, True).ticks() == [2, 2.5, 3, 3.5, 4]


def test_logarithms_are_evenly_spaced_and_refuse_zero():
    scale = Scale.around([1, 100, 0, -5, math.nan], 0, 10, log=True)
    assert scale(10) == pytest.approx(5)
    assert not scale.shows(0)
    assert not scale.shows(math.inf)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [math.nan], [5.0, 5.0 + 1e-14]])
def test_no_range_is_no_trouble(values, log):
    scale = Scale.around(values, 0, 10, log)
    assert scale.high > scale.low
    assert all(0 <= scale(t) <= 10 for t in scale.ticks())
