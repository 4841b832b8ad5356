"""Solved instances, made when they are asked for: item i of a seed is always the same instance and solution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pushforward.combinatorial.features import Features, features_of
from pushforward.combinatorial.graph import FEATURES, halved
from pushforward.combinatorial.independent_set import IndependentSet, near_largest, random_graphs
from pushforward.combinatorial.problem import Problem
from pushforward.combinatorial.raster import Raster
from pushforward.combinatorial.tsp import TravellingSalesman, near_optimal, random_cities
from pushforward.data.dataset import Batch
from pushforward.numerics.random import Draws

Solve = Callable[[Draws], tuple[Problem, np.ndarray]]
"""Keys of instances -> the instances and a good solution of each."""
_BLOCK = 256
"""Instances solved at once: local search is a matter of large arrays."""


def solved_tours(cities: int, kicks: int = 40) -> Solve:
    """Uniform cities and near-optimal tours."""

    def solve(draws: Draws) -> tuple[Problem, np.ndarray]:
        problem = TravellingSalesman(random_cities(draws, cities))
        return problem, near_optimal(problem, draws, kicks)

    return solve


def solved_sets(nodes: int, probability: float = 0.15, kicks: int = 40) -> Solve:
    """Random graphs and large independent sets."""

    def solve(draws: Draws) -> tuple[Problem, np.ndarray]:
        problem = IndependentSet(random_graphs(draws, nodes, probability))
        return problem, near_largest(problem, draws, kicks)

    return solve


@dataclass(eq=False)
class SolvedItems:
    """`count` solved instances under a seed and a stream, in memory once they were asked for."""

    solve: Solve
    count: int
    seed: int = 0
    stream: str = "train"
    _blocks: dict[int, tuple[Problem, np.ndarray]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.count

    def block(self, number: int) -> tuple[Problem, np.ndarray]:
        """Instances number · 256 and on, with their solutions."""
        if number not in self._blocks:
            first = number * _BLOCK
            index = range(first, min(first + _BLOCK, self.count))
            self._blocks[number] = self.solve(Draws.of(self.seed, index, f"instances of {self.stream}"))
        return self._blocks[number]

    def gather(self, indices: Tensor) -> list[tuple[Problem, np.ndarray, np.ndarray]]:
        """Instances and solutions by index, block by block, each with its places among the indices."""
        index = np.asarray(indices.cpu(), dtype=np.int64)
        found = []
        for number in np.unique(index // _BLOCK).tolist():
            at = np.flatnonzero(index // _BLOCK == number)
            problem, solutions = self.block(number)
            rows = index[at] - number * _BLOCK
            found.append((problem.rows(rows), solutions[rows], at))
        return found


@dataclass(eq=False)
class GraphItems:
    """Marks and features, for a graph network."""

    items: SolvedItems
    features: Features = features_of

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, indices: Tensor) -> Batch:
        parts = self.items.gather(indices)
        order = torch.from_numpy(np.argsort(np.concatenate([at for _, _, at in parts])))
        marks = [_flat(problem.encode(solutions)) for problem, solutions, _ in parts]
        values = torch.from_numpy(np.concatenate(marks)).long()
        features = torch.cat([self.features(problem) for problem, _, _ in parts])
        return Batch(values[order], conditions={FEATURES: features[order]})


@dataclass(eq=False)
class ImageItems:
    """Pictures (1, size, size) of tours: item 8i + k is tour i under the k-th symmetry of the square."""

    items: SolvedItems
    raster: Raster

    def __len__(self) -> int:
        return 8 * len(self.items)

    def batch(self, indices: Tensor) -> Batch:
        values = torch.empty(len(indices), 1, self.raster.size, self.raster.size)
        ways = indices.cpu() % 8
        for problem, solutions, at in self.items.gather(indices // 8):
            assert isinstance(problem, TravellingSalesman)
            cities = dihedral(problem.cities, ways[at].numpy())
            values[torch.from_numpy(at)] = self.raster.tours(cities, solutions)
        return Batch(values)


def dihedral(cities: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Cities (B, n, 2) of the unit square under one of its eight symmetries each (B,)."""
    moved = np.where((way % 2 == 1)[:, None, None], cities[..., ::-1], cities)
    flips = np.stack((way // 2 % 2, way // 4), -1)[:, None].astype(bool)
    return np.where(flips, 1 - moved, moved)


def _flat(marks: np.ndarray) -> np.ndarray:
    return halved(marks) if marks.ndim == 3 else marks
