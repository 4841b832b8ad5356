"""The travelling salesman: the shortest closed tour of cities in the plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.combinatorial.greedy import merged
from pushforward.combinatorial.local_search import Tours, tour_lengths, two_opt, two_opt_and_or_opt
from pushforward.combinatorial.problem import Improved, Numbers, Problem, Watcher, search
from pushforward.errors import UserError
from pushforward.numerics.random import Draws

_KICKS = 60
"""Of the search for near-optimal tours to learn from."""
_FARTHEST = 1e300
"""Of a coordinate: a tour of some thousand cities still has a length."""


@dataclass(frozen=True, eq=False)
class TravellingSalesman(Problem):
    """B instances of n cities: (B, n, 2). A solution is a row of tours (B, n); sites are pairs of cities, n × n."""

    cities: Numbers

    def __post_init__(self) -> None:
        if self.cities.ndim != 3 or self.cities.shape[2] != 2 or self.cities.shape[1] < 3:
            raise UserError(f"cities are an array (instances, at least 3 cities, 2); got {self.cities.shape}")
        for i in np.flatnonzero(_wrong(self.cities)):
            check_cities(self.cities[i], f"instance {i + 1}")

    def __len__(self) -> int:
        return len(self.cities)

    @property
    def sites(self) -> tuple[int, ...]:
        n = self.cities.shape[1]
        return n, n

    @cached_property
    def distances(self) -> Numbers:
        """Euclidean: (B, n, n)."""
        apart = self.cities[:, :, None] - self.cities[:, None]
        return np.hypot(apart[..., 0], apart[..., 1])

    def rows(self, index: np.ndarray) -> TravellingSalesman:
        return TravellingSalesman(self.cities[index])

    def encode(self, solutions: Tours) -> NDArray[np.float32]:
        """The symmetric adjacency of each tour."""
        marks, rows = np.zeros((len(self), *self.sites), dtype=np.float32), np.arange(len(self))[:, None]
        after = np.roll(solutions, -1, 1)
        marks[rows, solutions, after] = marks[rows, after, solutions] = 1.0
        return marks

    def decode(self, heat: np.ndarray) -> Tours:
        """Edges merged by (A + Aᵀ)/d, as Graikos et al. (2022) and Sun & Yang (2023) do."""
        found = self.checked(heat)
        near = self.distances + np.eye(self.sites[0])  # the diagonal is never asked for
        return merged((found + found.transpose(0, 2, 1)) / near)

    def cost(self, solutions: Tours) -> Numbers:
        return tour_lengths(self.distances, solutions)

    def improve(self, solutions: Tours) -> Improved:
        return Improved(*two_opt(self.distances, solutions))

    def kick(self, solutions: Tours, draws: Draws) -> Tours:
        """The double bridge: three cuts, the two middle stretches exchanged (Martin, Otto & Felten 1991)."""
        n = solutions.shape[1]
        if n < 5:
            return solutions
        u = draws.uniform((n - 1,)).numpy()
        cuts = np.sort(np.argsort(u, 1)[:, :3], 1) + 1
        one, two, three = (cuts[:, k : k + 1] for k in range(3))
        at = np.arange(n)[None]
        middle = np.where(at < one + three - two, at + two - one, at - three + two)
        order = np.where((at >= one) & (at < three), middle, at)
        return np.take_along_axis(solutions, order, 1)


class _Thorough(TravellingSalesman):
    """With or-opt moves too."""

    def improve(self, solutions: Tours) -> Improved:
        return Improved(*two_opt_and_or_opt(self.distances, solutions))


def random_cities(draws: Draws, n: int) -> Numbers:
    """Uniform in the unit square: (len(draws), n, 2)."""
    return draws.at("cities").uniform((n, 2), dtype=torch.float64).numpy()


def random_tours(draws: Draws, n: int) -> Tours:
    """Tours in random order: (len(draws), n)."""
    return np.argsort(draws.at("tour").uniform((n,)).numpy(), 1)


def near_optimal(
    problem: TravellingSalesman,
    draws: Draws,
    kicks: int = _KICKS,
    start: Tours | None = None,
    watch: Watcher | None = None,
) -> Tours:
    """Good tours: greedy or `start`, then iterated local search with 2-opt and or-opt moves.

    At 20 cities nearly all are optimal; what they are for larger n is measured in the benchmarks.
    """
    start = problem.decode(problem.nothing()) if start is None else start
    return search(_Thorough(problem.cities), start, draws, kicks, watch)


def check_cities(cities: np.ndarray, what: str = "the cities") -> Numbers:
    """Cities (n, 2) as float64.

    Raises UserError: fewer than 3, another shape, not finite, two in one place, too far apart for their lengths.
    """
    found = np.asarray(cities, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2:
        raise UserError(f"{what}: two columns are needed, x and y; got an array of shape {found.shape}")
    if len(found) < 3:
        raise UserError(
            f"{what}: a tour needs at least 3 cities; there {'is' if len(found) == 1 else 'are'} {len(found)}"
        )
    if not np.isfinite(found).all():
        row = int((~np.isfinite(found)).any(1).argmax())
        raise UserError(f"{what}: city {row + 1} has a coordinate that is not a finite number; remove or repair it")
    if np.abs(found).max() > _FARTHEST:
        raise UserError(f"{what}: a coordinate is beyond {_FARTHEST:g}, where lengths overflow; take another unit")
    _, where, counts = np.unique(found, axis=0, return_index=True, return_counts=True)
    if len(where) < len(found):
        twice = found[where[counts > 1][0]]
        rows = [int(row) + 1 for row in np.flatnonzero((found == twice).all(1))[:2]]
        raise UserError(f"{what}: cities {rows[0]} and {rows[1]} are in the same place; keep one of them")
    return found


def _wrong(cities: Numbers) -> NDArray[np.bool_]:
    """Which instances `check_cities` would refuse: (B,)."""
    ordered = np.sort(cities[..., 0] + 1j * cities[..., 1], 1)  # by x, then by y
    twice = (np.diff(ordered, axis=1) == 0).any(1)
    return twice | ~(np.abs(cities) <= _FARTHEST).all((1, 2))


def unit_square(cities: Numbers) -> Numbers:
    """Cities (…, n, 2) shifted and scaled alike in x and y into [0, 1]²: what a prior was trained on."""
    low = cities.min(-2, keepdims=True)
    span = (cities.max(-2, keepdims=True) - low).max(-1, keepdims=True)
    return (cities - low) / span
