"""Which rows are held out: a pure function of the number of rows, their labels and the seed."""

from __future__ import annotations

import numpy as np

from pushforward.errors import UserError
from pushforward.numerics.random import key, permutation


def spread_order(count: int, labels: np.ndarray | None, seed: int) -> np.ndarray:
    """A random order of 0 … count − 1 of which every prefix has the classes in proportion, to within one item each.

    Item number r of the n_c items of a class, in random order, is placed at (r + ½)/n_c.
    """
    order = permutation(key(seed, "split"), count).numpy()
    if labels is None:
        return order
    shuffled = labels[order]
    by_class = np.argsort(shuffled, kind="stable")
    sizes = np.bincount(shuffled, minlength=1)
    starts = np.concatenate(([0], np.cumsum(sizes)))[:-1]
    place = np.empty(count)
    sorted_labels = shuffled[by_class]
    place[by_class] = (np.arange(count) - starts[sorted_labels] + 0.5) / sizes[sorted_labels]
    return order[np.argsort(place, kind="stable")]


def held_out(count: int, fraction: float, others: int) -> int:
    """How many of `count` rows a fraction is: at least one where at least `others` + 1 rows remain."""
    if isinstance(fraction, bool) or not 0 <= fraction < 1:
        raise UserError(f"A held-out share of {fraction} was given, and a number from 0 to below 1 was expected.")
    if fraction == 0 or count <= others:
        return 0
    return max(1, min(round(count * fraction), count - others))


def split(
    count: int, labels: np.ndarray | None, validation: float, test: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of training, validation and test, each ascending; stratified where there are labels.

    Each is at least one row where there are three or more; with two rows the test split is empty.
    """
    order = spread_order(count, labels, seed)
    validations = held_out(count, validation, 1)
    tests = held_out(count, test, 1 + validations)
    if validation + test >= 1:
        raise UserError(f"Shares of {validation} and {test} hold out everything: leave some of the data for training.")
    first, second = tests, tests + validations
    return np.sort(order[second:]), np.sort(order[first:second]), np.sort(order[:first])
