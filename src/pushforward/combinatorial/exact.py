"""Optima, proved: tours by dynamic programming, cuts or a constraint solver; independent sets by integers."""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import LinearConstraint, linprog, milp
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.csgraph import connected_components

from pushforward.data.extras import optional_package
from pushforward.errors import PushforwardError, UserError

MOST_HELD_KARP = 14
"""Cities: the table has n 2ⁿ entries."""
_SCALE = 10**6
"""CP-SAT knows whole numbers alone: lengths are rounded to a millionth of the longest distance."""
_LONGEST = 1e3
"""HiGHS calls a gap of 1e-6 none, whatever the unit: lengths are scaled so that it is 1e-9 of the longest distance."""


def held_karp(distances: np.ndarray) -> np.ndarray:
    """The optimal tour (n,) of distances (n, n) by dynamic programming over subsets (Held & Karp 1962); n ≤ 14."""
    n = len(_checked(distances))
    if not 3 <= n <= MOST_HELD_KARP:
        raise UserError(f"Held–Karp is for 3 to {MOST_HELD_KARP} cities; got {n}")
    others = n - 1
    best = np.full((1 << others, others), np.inf)
    came = np.zeros((1 << others, others), dtype=np.int64)
    between, home = distances[1:, 1:], distances[0, 1:]
    best[1 << np.arange(others), np.arange(others)] = home
    for subset in range(1, 1 << others):
        inside = np.flatnonzero(subset >> np.arange(others) & 1)
        if len(inside) < 2:
            continue
        for last in inside:
            ways = best[subset ^ (1 << last)] + between[:, last]
            came[subset, last] = ways.argmin()
            best[subset, last] = ways.min()
    left = (1 << others) - 1
    city = int((best[left] + home).argmin())
    tour = [city]
    while left & (left - 1):
        left, city = left ^ (1 << city), int(came[left, city])
        tour.append(city)
    return np.array([0, *(place + 1 for place in tour)])


def shortest_tour(distances: np.ndarray, seconds: float | None = None) -> np.ndarray:
    """The optimal tour (n,) of distances (n, n), by integer programming with sub-tour cuts (Dantzig et al. 1954).

    A variable for each edge, two edges at each city; a solution that falls into several tours is cut off by asking
    for two edges out of each, first in the relaxation and then in whole numbers, until one tour is left. HiGHS, which
    SciPy brings, proves each step. Raises PushforwardError where `seconds`, for all of it, were not enough for a proof.
    """
    n = len(_checked(distances))
    if n <= 3:
        return np.arange(n)
    first, second = np.triu_indices(n, 1)
    length = distances[first, second] * (_LONGEST / (distances.max() or 1.0))
    cuts, clock = _Cuts(n, first, second), _Clock(f"the shortest tour of {n} cities", seconds)
    while True:  # the relaxation: cheap, and most cuts are found here
        least = {"A_ub": -cuts.matrix(), "b_ub": -cuts.least(), "A_eq": cuts.degrees, "b_eq": np.full(n, 2.0)}
        found = linprog(length, **least, bounds=(0, 1), options=clock.options())
        if found.status != 0 or not cuts.add(found.x):
            break
    while True:
        rules = [LinearConstraint(cuts.degrees, 2, 2)]
        if len(cuts.rows):
            rules.append(LinearConstraint(cuts.matrix(), cuts.least(), np.inf))
        options = {"mip_rel_gap": 0.0} | clock.options()
        found = milp(length, integrality=np.ones(len(length)), bounds=(0, 1), constraints=rules, options=options)
        if found.status != 0:
            clock.options()
            raise PushforwardError(f"the shortest tour of {n} cities was not proved: {found.message}")
        used = found.x > 0.5  # whole numbers up to a tolerance
        if not cuts.add(used):
            return _order(n, first, second, used)


class _Clock:
    """What is left of the seconds for a proof; None: as many as it takes."""

    def __init__(self, what: str, seconds: float | None) -> None:
        self.what, self.seconds, self.began = what, seconds, time.monotonic()

    def options(self) -> dict[str, float]:
        """For HiGHS. Raises PushforwardError when nothing is left."""
        if self.seconds is None:
            return {}
        left = self.seconds - (time.monotonic() - self.began)
        if not left > 0:
            raise PushforwardError(f"{self.what} was not proved in {self.seconds:g} s")
        return {"time_limit": left}


class _Cuts:
    """The rules of a tour as rows over its edges, and the cuts found so far."""

    def __init__(self, n: int, first: np.ndarray, second: np.ndarray) -> None:
        self.n, self.first, self.second = n, first, second
        edges = np.arange(len(first))
        ends = (np.concatenate((first, second)), np.concatenate((edges, edges)))
        self.degrees = csr_array(coo_array((np.ones(2 * len(first)), ends), shape=(n, len(first))))
        self.rows: list[csr_array] = []

    def matrix(self) -> csr_array:
        return vstack(self.rows, format="csr") if self.rows else csr_array((0, len(self.first)))

    def least(self) -> np.ndarray:
        """At least two edges out of each part."""
        return np.full(len(self.rows), 2.0)

    def add(self, x: np.ndarray) -> bool:
        """Cut off a solution (edges,) that falls into parts; whether it did."""
        used = x > 1e-6
        ends = (self.first[used], self.second[used])
        parts, part = connected_components(
            coo_array((np.ones(used.sum()), ends), shape=(self.n, self.n)), directed=False
        )
        if parts == 1:
            return False
        for number in range(parts):
            inside = part == number
            out = inside[self.first] != inside[self.second]
            self.rows.append(csr_array(out.astype(np.float64)[None]))
        return True


def cp_sat_tour(distances: np.ndarray, seconds: float = 60.0) -> np.ndarray:
    """The optimal tour (n,) by CP-SAT with a circuit constraint, which the extra `exact` brings; one thread.

    Optimal for lengths rounded to a millionth of the longest. Raises UserError where OR-Tools is not installed,
    PushforwardError where the time was not enough for a proof.
    """
    cp = optional_package("ortools.sat.python.cp_model", "tours by constraint programming", "exact")
    n = len(_checked(distances))
    if n <= 3:
        return np.arange(n)
    whole = np.rint(distances * (_SCALE / (distances.max() or 1.0))).astype(int)
    model = cp.CpModel()
    arcs = [(i, j, model.new_bool_var(f"{i}-{j}")) for i in range(n) for j in range(n) if i != j]
    model.add_circuit(arcs)
    model.minimize(sum(int(whole[i, j]) * used for i, j, used in arcs))
    solver = cp.CpSolver()
    solver.parameters.num_workers, solver.parameters.max_time_in_seconds = 1, seconds
    if solver.solve(model) != cp.OPTIMAL:
        raise PushforwardError(f"CP-SAT did not prove the shortest tour of {n} cities in {seconds:g} s; allow more")
    after = {i: j for i, j, used in arcs if solver.boolean_value(used)}
    tour = [0]
    while len(tour) < n:
        tour.append(after[tour[-1]])
    return np.array(tour)


def largest_independent_set(edges: np.ndarray) -> np.ndarray:
    """A largest set of nodes (n,) bool without an edge between them, of adjacency (n, n), by integer programming."""
    n = len(edges)
    first, second = np.nonzero(np.triu(edges, 1))
    rules = []
    if len(first):
        rows = np.arange(len(first))
        places = (np.concatenate((rows, rows)), np.concatenate((first, second)))
        rules = [
            LinearConstraint(csr_array(coo_array((np.ones(2 * len(first)), places), shape=(len(first), n))), -np.inf, 1)
        ]
    found = milp(-np.ones(n), integrality=np.ones(n), bounds=(0, 1), constraints=rules, options={"mip_rel_gap": 0.0})
    if found.status != 0:
        raise PushforwardError(f"the largest independent set of {n} nodes was not proved: {found.message}")
    return found.x > 0.5


def _checked(distances: np.ndarray) -> np.ndarray:
    """Raises UserError unless they are finite, at least 0 and the same both ways."""
    if distances.ndim != 2 or len(distances) != distances.shape[-1]:
        raise UserError(f"distances of one instance are a matrix (cities, cities); got {distances.shape}")
    if not np.isfinite(distances).all() or (distances < 0).any() or not np.allclose(distances, distances.T, atol=0):
        raise UserError("distances must be finite, at least 0 and the same both ways; these are not")
    return distances


def _order(n: int, first: np.ndarray, second: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The cities in the order of the tour whose edges are used."""
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for i, j in zip(first[used].tolist(), second[used].tolist(), strict=True):
        neighbours[i].append(j)
        neighbours[j].append(i)
    tour, before = [0], -1
    while len(tour) < n:
        one, two = neighbours[tour[-1]]
        before, onward = tour[-1], two if one == before else one
        tour.append(onward)
    return np.array(tour)
