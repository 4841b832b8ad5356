"""T26: what a prior of tours is measured with, against enumeration: moves, optima, decoding."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np

from pushforward.combinatorial.exact import held_karp, largest_independent_set, shortest_tour
from pushforward.combinatorial.independent_set import IndependentSet, random_graphs
from pushforward.combinatorial.local_search import two_opt
from pushforward.combinatorial.tsp import TravellingSalesman, near_optimal, random_cities, random_tours
from pushforward.numerics.random import Draws
from pushforward.verification.check import Check


def _instances(count: int, n: int) -> TravellingSalesman:
    return TravellingSalesman(random_cities(Draws.of(0, range(count), "verify"), n))


def _length(distances: np.ndarray, tour: np.ndarray) -> float:
    return float(sum(distances[tour[i - 1], tour[i]] for i in range(len(tour))))


def optima() -> float:
    """Both solvers against all tours of 7 cities: the largest relative difference of lengths."""
    worst, orders = 0.0, np.array([(0, *rest) for rest in permutations(range(1, 7))])
    for distances in _instances(3, 7).distances:
        truth = distances[orders, np.roll(orders, -1, 1)].sum(1).min()
        for tour in (held_karp(distances), shortest_tour(distances)):
            worst = max(worst, abs(_length(distances, tour) / truth - 1))
    return worst


def no_better_reversal(rounds: int | None = None) -> float:
    """The most that reversing any stretch still gains after 2-opt, recomputing whole lengths; 0 at a local optimum."""
    problem = _instances(6, 12)
    tours = random_tours(Draws.of(1, range(6)), 12)
    if rounds is None:
        tours, _ = two_opt(problem.distances, tours)
    most = 0.0
    for distances, tour in zip(problem.distances, tours, strict=True):
        for i, j in combinations(range(13), 2):
            turned = np.concatenate((tour[:i], tour[i:j][::-1], tour[j:]))
            most = max(most, _length(distances, tour) - _length(distances, turned))
    return most


def round_trip() -> float:
    """How many edges differ between a tour and what is decoded from its own marks."""
    problem = _instances(10, 30)
    tours = near_optimal(problem, Draws.of(2, range(10)), 0)
    marks = problem.encode(tours)
    return float(np.abs(problem.encode(problem.decode(marks)) - marks).sum())


def independent() -> float:
    """The largest set of 12 nodes against all subsets, and edges inside any decoded or improved set."""
    problem = IndependentSet(random_graphs(Draws.of(0, range(4), "verify"), 12, 0.3))
    wrong = 0.0
    sets, _ = problem.improve(problem.decode(problem.nothing()))
    wrong += float((problem.edges & sets[:, :, None] & sets[:, None]).sum())
    masks = (np.arange(1 << 12)[:, None] >> np.arange(12) & 1).astype(np.int64)
    for edges in problem.edges:
        allowed = np.einsum("si,ij,sj->s", masks, edges.astype(np.int64), masks) == 0
        wrong += abs(int(masks[allowed].sum(1).max()) - int(largest_independent_set(edges).sum()))
    return wrong


CHECKS = (
    Check("the shortest tour is proved", "T26", "all 720 tours of 7 cities", 1e-9, optima),
    Check("2-opt ends at a local optimum", "T26", "every reversal of 6 tours, lengths anew", 1e-9, no_better_reversal),
    Check("decoding a tour's own marks gives it back", "T26", "edges that differ, 10 tours", 0, round_trip),
    Check("the largest independent set is proved", "T26", "all subsets of 12 nodes", 0, independent),
)
