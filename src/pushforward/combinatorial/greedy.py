"""Tours from scores of edges: the best edge that may still be added, again and again, for a batch at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pushforward.combinatorial.local_search import Tours


def merged(scores: np.ndarray) -> Tours:
    """Tours (B, n) from scores (B, n, n), symmetric, diagonal ignored.

    Edges by falling score, each taken if it joins the ends of two different paths; the last two ends close the tour
    (Graikos et al. 2022; with scores −d the greedy edge heuristic). Equal scores: the lower pair of cities first.
    """
    count, n = len(scores), scores.shape[1]
    first, second = np.triu_indices(n, 1)
    order = np.argsort(-scores[:, first, second], axis=1, kind="stable")
    neighbours, degree = np.full((count, n, 2), -1), np.zeros((count, n), dtype=np.int64)
    path, joined = np.tile(np.arange(n), (count, 1)), np.zeros(count, dtype=np.int64)
    rows = np.arange(count)
    for k in _worth_asking(order, first, second, degree, path):
        a, b = first[order[:, k]], second[order[:, k]]
        able = (degree[rows, a] < 2) & (degree[rows, b] < 2) & (path[rows, a] != path[rows, b])
        chosen = rows[able]
        if not len(chosen):
            continue
        a, b = a[able], b[able]
        _join(neighbours, degree, chosen, a, b)
        own = path[chosen]
        path[chosen] = np.where(own == path[chosen, b][:, None], path[chosen, a][:, None], own)
        joined[chosen] += 1
        if joined.min() == n - 1:
            break
    return _walked(neighbours, degree)


def _worth_asking(
    order: np.ndarray, first: np.ndarray, second: np.ndarray, degree: np.ndarray, path: np.ndarray
) -> Iterator[int]:
    """Places in the order at which some tour could still take its edge; degrees and paths change meanwhile.

    An edge that is impossible stays so: most are passed over by a look at many at once.
    """
    many, rows = 4 * degree.shape[1], np.arange(len(order))[:, None]
    for begin in range(0, order.shape[1], many):
        part = order[:, begin : begin + many]
        a, b = first[part], second[part]
        able = (degree[rows, a] < 2) & (degree[rows, b] < 2) & (path[rows, a] != path[rows, b])
        yield from (begin + np.flatnonzero(able.any(0))).tolist()


def _join(neighbours: np.ndarray, degree: np.ndarray, rows: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    neighbours[rows, a, degree[rows, a]] = b
    neighbours[rows, b, degree[rows, b]] = a
    degree[rows, a] += 1
    degree[rows, b] += 1


def _walked(neighbours: np.ndarray, degree: np.ndarray) -> Tours:
    """The paths from one end to the other."""
    count, n = degree.shape
    rows, tours = np.arange(count), np.empty((count, n), dtype=np.int64)
    here, before = degree.argmin(1), np.full(count, -1)
    for k in range(n):
        tours[:, k] = here
        ahead = neighbours[rows, here]
        onward = np.where(ahead[:, 0] == before, ahead[:, 1], ahead[:, 0])
        here, before = onward, here
    return tours
