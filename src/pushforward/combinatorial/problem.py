"""What a combinatorial problem is to a model: marks to learn, marks to decode, a cost, moves that improve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pushforward.errors import UserError
from pushforward.numerics.random import Draws

Numbers = NDArray[np.float64]
"""Of the whole batch at once: (B, …)."""


class Improved(NamedTuple):
    """Solutions at a local optimum, and how many moves each took to it: int64 (B,)."""

    solutions: np.ndarray
    moves: NDArray[np.int64]


class Problem(ABC):
    """B instances of one kind and size. A solution is a row of an array; everything is done for all rows at once.

    `encode` and `decode` speak of sites: a solution marks some of them with 1, a model says of each how likely its mark
    is (the heat), and `decode` makes a solution that is allowed out of any heat. A heat that is the same everywhere is
    the control: what decoding finds by itself, without a model.
    """

    @abstractmethod
    def __len__(self) -> int:
        """How many instances there are."""

    @property
    @abstractmethod
    def sites(self) -> tuple[int, ...]:
        """The shape of the marks of one solution."""

    @abstractmethod
    def rows(self, index: np.ndarray) -> Problem:
        """Some of the instances, by index."""

    @abstractmethod
    def encode(self, solutions: np.ndarray) -> NDArray[np.float32]:
        """The marks of solutions: (B, *sites), 0 and 1."""

    @abstractmethod
    def decode(self, heat: np.ndarray) -> np.ndarray:
        """Allowed solutions that prefer hot sites: (B, *sites), not negative -> (B, …)."""

    @abstractmethod
    def cost(self, solutions: np.ndarray) -> Numbers:
        """What each solution costs, to be minimised: (B,)."""

    @abstractmethod
    def improve(self, solutions: np.ndarray) -> Improved:
        """Local search: moves while one lowers the cost."""

    @abstractmethod
    def kick(self, solutions: np.ndarray, draws: Draws) -> np.ndarray:
        """A random allowed change of each solution that `improve` does not simply undo."""

    def nothing(self) -> NDArray[np.float32]:
        """The heat of one who knows nothing."""
        return np.ones((len(self), *self.sites), dtype=np.float32)

    def checked(self, heat: np.ndarray) -> Numbers:
        """The heat as float64. Raises UserError for another shape, or numbers that are negative or not finite."""
        found = np.asarray(heat, dtype=np.float64)
        if found.shape != (len(self), *self.sites):
            raise UserError(f"a heat of shape {(len(self), *self.sites)} was expected; got {found.shape}")
        if not np.isfinite(found).all() or found.min(initial=0.0) < 0:
            raise UserError("a heat is a finite number of at least 0 for each site, such as a probability")
        return found


Watcher = Callable[[int, int], None]
"""(kicks that are done, kicks in all)."""


def search(problem: Problem, start: np.ndarray, draws: Draws, kicks: int, watch: Watcher | None = None) -> np.ndarray:
    """Iterated local search: improve, kick, improve, and keep what is not worse; `draws` has a key per instance."""
    if len(draws) != len(problem):
        raise UserError(f"each of the {len(problem)} instances has a key of its own; got draws of {len(draws)}")
    best = problem.improve(start).solutions
    cost = problem.cost(best)
    for i in range(kicks):
        found = problem.improve(problem.kick(best, draws.at("kick", i))).solutions
        costs = problem.cost(found)
        better = costs <= cost
        best = np.where(better.reshape(-1, *[1] * (best.ndim - 1)), found, best)
        cost = np.minimum(cost, costs)
        if watch is not None:
            watch(i + 1, kicks)
    return best


def cheapest(problem: Problem, candidates: Sequence[np.ndarray]) -> np.ndarray:
    """Of several solutions of each instance, each (B, …), the one that costs least: (B, …)."""
    if not len(candidates):
        raise UserError("the cheapest of no solutions was asked for: give at least one")
    costs = np.stack([problem.cost(solutions) for solutions in candidates])
    return np.stack(candidates)[costs.argmin(0), np.arange(len(problem))]


def gap(cost: np.ndarray, optimum: np.ndarray) -> Numbers:
    """How much worse each instance is than its optimum, as a share of it; costs may be negative, as those of sets."""
    best = np.asarray(optimum, dtype=np.float64)
    return (np.asarray(cost, dtype=np.float64) - best) / np.abs(best)
