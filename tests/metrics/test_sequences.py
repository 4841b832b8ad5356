"""Generated texts against real ones: divergences by hand, copies counted, and what is refused."""

import math

import numpy as np
import pytest

from pushforward.errors import UserError
from pushforward.metrics.sequences import evaluate_texts, jensen_shannon, pieces_of


def units(text):
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def texts(*lines):
    return [units(line) for line in lines]


def test_pieces_are_counted_within_texts():
    found = pieces_of(texts("aab", "ab", "b"), 2)
    assert sorted(found.values()) == [1, 2] and sum(found.values()) == 3  # "aa", and "ab" twice; none across texts


def test_the_divergence_of_two_frequencies():
    one, other = pieces_of(texts("aaab"), 1), pieces_of(texts("ab"), 1)
    p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    middle = (p + q) / 2
    wanted = 0.5 * float((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum())
    assert jensen_shannon(one, other) == pytest.approx(wanted)
    assert jensen_shannon(one, one) == 0 and jensen_shannon(one, pieces_of(texts("cd"), 1)) == 1
    short = pieces_of(texts("a"), 2)
    assert jensen_shannon(short, pieces_of(texts("ab"), 2)) == 1 and jensen_shannon(short, short) == 0


def test_copies_are_seen_whatever_one_short_line_is():
    train, test = texts(*["the cat sat on the mat"] * 8), texts(*["a dog ran to a red door"] * 8)
    copied = evaluate_texts(texts("a", *["the cat sat on the mat"] * 7), train, test)
    fresh = evaluate_texts(texts("a", *["no word of it is there"] * 7), train, test)
    assert copied["copies of 22 units"].value == 1 and fresh["copies of 22 units"].value == 0
    assert copied["JS of 3 units"].floor == pytest.approx(copied["JS of 3 units"].value, abs=0.05)
    assert all(math.isfinite(row.value) for row in fresh)
    with pytest.raises(UserError, match="3 generated texts"):
        evaluate_texts(texts("a", "b", "c"), train, test)
