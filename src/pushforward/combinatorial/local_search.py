"""Moves that shorten tours, for a batch of tours at once: 2-opt and or-opt, the best move of each tour per round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Tours = NDArray[np.int64]
"""(B, n): each row the cities in the order in which they are visited."""
_Best = Callable[[np.ndarray, Tours], tuple[np.ndarray, Tours]]
"""(distances (B, n²), tours) -> the gain of the best move of each tour (B,), and the tours after it."""
_LEAST = 1e-10
"""A gain below this share of the mean distance is rounding."""


def two_opt(distances: np.ndarray, tours: Tours) -> tuple[Tours, NDArray[np.int64]]:
    """Reverse stretches while that shortens a tour: tours no reversal shortens, and the number of moves of each.

    Best improvement (Croes 1958): of all pairs of edges (t_i, t_{i+1}), (t_j, t_{j+1}) the one whose exchange for
    (t_i, t_j), (t_{i+1}, t_{j+1}) gains most. distances (B, n, n), symmetric.
    """
    return _descend(distances, tours, _best_reversal)


def two_opt_and_or_opt(distances: np.ndarray, tours: Tours) -> tuple[Tours, NDArray[np.int64]]:
    """As `two_opt`, with stretches of one to three cities moved elsewhere as well (Or 1976)."""
    return _descend(distances, tours, _best_of_both)


def tour_lengths(distances: np.ndarray, tours: Tours) -> NDArray[np.float64]:
    """The length of each closed tour: (B,)."""
    rows = np.arange(len(tours))[:, None]
    return distances[rows, tours, np.roll(tours, -1, 1)].sum(1)


def _descend(distances: np.ndarray, tours: Tours, best: _Best) -> tuple[Tours, NDArray[np.int64]]:
    tours, moves = tours.copy(), np.zeros(len(tours), dtype=np.int64)
    n = tours.shape[1]
    if n < 4:
        return tours, moves
    flat, active = distances.reshape(len(tours), n * n), np.arange(len(tours))
    least = _LEAST * distances.mean(axis=(1, 2))
    while len(active):
        gains, moved = best(flat[active], tours[active])
        better = gains > least[active]
        active = active[better]
        tours[active] = moved[better]
        moves[active] += 1
    return tours, moves


def _take(flat: np.ndarray, a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    return np.take_along_axis(flat, a * n + b, 1)


def _pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions i < j of two edges (i, i + 1), (j, j + 1) without a city in common."""
    i, j = np.triu_indices(n, 2)
    apart = ~((i == 0) & (j == n - 1))
    return i[apart], j[apart]


def _best_reversal(flat: np.ndarray, tours: Tours) -> tuple[np.ndarray, Tours]:
    n = tours.shape[1]
    i, j = _pairs(n)
    after = np.roll(tours, -1, 1)
    edges = _take(flat, tours, after, n)
    gains = (
        edges[:, i] + edges[:, j] - _take(flat, tours[:, i], tours[:, j], n) - _take(flat, after[:, i], after[:, j], n)
    )
    found = gains.argmax(1)
    low, high, at = i[found][:, None] + 1, j[found][:, None], np.arange(n)[None]
    order = np.where((at >= low) & (at <= high), low + high - at, at)
    return gains[np.arange(len(tours)), found], np.take_along_axis(tours, order, 1)


def _best_move(flat: np.ndarray, tours: Tours, size: int) -> tuple[np.ndarray, Tours]:
    """A stretch of `size` cities from positions s … s + size − 1, put between k and k + 1, either way round."""
    n = tours.shape[1]
    start, shift = (part.ravel() for part in np.meshgrid(np.arange(n), np.arange(n - size - 1), indexing="ij"))
    last, before, behind = (start + size - 1) % n, (start - 1) % n, (start + size) % n
    left = (start + size + shift) % n
    right = (left + 1) % n
    at = [tours[:, p] for p in (start, last, before, behind, left, right)]
    first, end, prior, later, a, b = at
    kept = (
        _take(flat, prior, first, n) + _take(flat, end, later, n) + _take(flat, a, b, n) - _take(flat, prior, later, n)
    )
    straight = kept - _take(flat, a, first, n) - _take(flat, end, b, n)
    turned = kept - _take(flat, a, end, n) - _take(flat, first, b, n)
    gains = np.maximum(straight, turned)
    found, rows = gains.argmax(1), np.arange(len(tours))
    moved = _moved(tours, start[found], shift[found], size, turned[rows, found] > straight[rows, found])
    return gains[rows, found], moved


def _moved(tours: Tours, start: np.ndarray, shift: np.ndarray, size: int, turned: np.ndarray) -> Tours:
    """First what follows the stretch up to where it goes, then the stretch, then the rest."""
    n = tours.shape[1]
    at, shift, start = np.arange(n)[None], shift[:, None], start[:, None]
    skipped = shift + 1  # cities that the stretch jumps over
    inside = (at >= skipped) & (at < skipped + size)
    own = np.where(turned[:, None], size - 1 - (at - skipped), at - skipped)
    order = np.where(at < skipped, at + size, np.where(inside, own, at))
    return np.take_along_axis(tours, (start + order) % n, 1)


def _best_of_both(flat: np.ndarray, tours: Tours) -> tuple[np.ndarray, Tours]:
    """The best reversal; where none gains, the best moved stretch, which is dearer to look for."""
    gains, moved = _best_reversal(flat, tours)
    stuck = np.flatnonzero(gains <= _LEAST * flat.mean(1))
    for size in range(1, min(3, tours.shape[1] - 3) + 1):
        if not len(stuck):
            break
        gains[stuck], moved[stuck] = _best_move(flat[stuck], tours[stuck], size)
        stuck = stuck[gains[stuck] <= _LEAST * flat[stuck].mean(1)]
    return gains, moved
