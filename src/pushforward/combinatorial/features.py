"""What a graph network is told of an instance: symmetric numbers of each pair of nodes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pushforward.combinatorial.independent_set import IndependentSet
from pushforward.combinatorial.problem import Problem
from pushforward.combinatorial.tsp import TravellingSalesman
from pushforward.errors import UserError

OF_CITIES, OF_NODES = 4, 3
"""How many numbers a pair has."""
Features = Callable[[Problem], Tensor]
"""A problem of B instances -> float32 (B, n, n, F), the same for a pair and for its reverse."""


def features_of(problem: Problem) -> Tensor:
    """Those of the kinds of problem that are here. Raises UserError for another, which brings its own `Features`."""
    if isinstance(problem, TravellingSalesman):
        return of_cities(problem)
    if isinstance(problem, IndependentSet):
        return of_graphs(problem)
    raise UserError(
        f"there are no features of a {type(problem).__name__}: give a function of its instances as `features`"
    )


def of_cities(problem: TravellingSalesman) -> Tensor:
    """The distance in the unit √(area/n), how it decays, and the two ranks among the distances of either end.

    The area is that of the box around the cities, or of a band one mean step wide where they lie on a line. Nothing
    changes when the plane is moved, scaled, mirrored or turned by right angles: no tour has to be shown so.
    """
    d = problem.distances
    n = d.shape[1]
    ranks = np.argsort(np.argsort(d, 2, kind="stable"), 2, kind="stable")  # 0: the city itself
    one, other = 1 / (1.0 + ranks), 1 / (1.0 + ranks.transpose(0, 2, 1))
    span = problem.cities.max(1) - problem.cities.min(1)
    unit = np.sqrt(np.maximum(span.prod(1), span.max(1) ** 2 / n) / n)[:, None, None]
    near = np.stack(
        (np.minimum(d / unit, 8.0) / 4, np.exp(-d / unit), np.minimum(one, other), np.maximum(one, other)), -1
    )
    near[:, np.arange(n), np.arange(n)] = 0.0
    return torch.from_numpy(near.astype(np.float32))


def of_graphs(problem: IndependentSet) -> Tensor:
    """Whether there is an edge, and the lesser and the greater degree of the two ends against the graph's mean."""
    degrees = problem.degrees / np.maximum(1e-9, problem.degrees.mean(1, keepdims=True))
    one, other = np.broadcast_arrays(degrees[:, :, None], degrees[:, None])
    edge = problem.edges.astype(np.float64)
    rows = np.stack((edge, np.minimum(one, other) * edge, np.maximum(one, other) * edge), -1)
    n = len(rows[0])
    rows[:, np.arange(n), np.arange(n), 1:] = (problem.degrees / math.sqrt(n))[..., None]  # told to the node itself
    return torch.from_numpy(rows.astype(np.float32))
