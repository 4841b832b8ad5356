"""The largest independent set: as many nodes of a graph as can be without an edge between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.combinatorial.problem import Improved, Numbers, Problem, search
from pushforward.errors import UserError
from pushforward.numerics.random import Draws

Sets = NDArray[np.bool_]
"""(B, n): which nodes are in the set."""
_KICKS = 40


@dataclass(frozen=True, eq=False)
class IndependentSet(Problem):
    """B graphs of n nodes, symmetric adjacency (B, n, n) bool without loops. Sites are nodes; the cost is −size."""

    edges: NDArray[np.bool_]

    def __post_init__(self) -> None:
        edges = self.edges
        if edges.ndim != 3 or edges.shape[1] != edges.shape[2] or edges.dtype != np.bool_:
            raise UserError(
                f"graphs are adjacencies (instances, nodes, nodes) of bool; got {edges.shape}, {edges.dtype}"
            )
        if (edges != edges.transpose(0, 2, 1)).any() or edges.diagonal(axis1=1, axis2=2).any():
            raise UserError("an adjacency is symmetric and no node is its own neighbour; this one is not so")

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def sites(self) -> tuple[int, ...]:
        return (self.edges.shape[1],)

    @cached_property
    def degrees(self) -> NDArray[np.int64]:
        return self.edges.sum(2)

    def rows(self, index: np.ndarray) -> IndependentSet:
        return IndependentSet(self.edges[index])

    def encode(self, solutions: Sets) -> NDArray[np.float32]:
        return solutions.astype(np.float32)

    def decode(self, heat: np.ndarray) -> Sets:
        """Nodes by falling heat/(1 + degree), degrees counted among the nodes still free; a constant heat is the
        greedy rule of least degree (Halldórsson & Radhakrishnan 1997)."""
        found, rows = self.checked(heat), np.arange(len(self))
        chosen, free = np.zeros(found.shape, dtype=bool), np.ones(found.shape, dtype=bool)
        while free.any():
            degrees = (self.edges & free[:, None]).sum(2)
            node = np.where(free, (found + 1e-12) / (1 + degrees), -1.0).argmax(1)
            open_ = free[rows, node]
            chosen[rows[open_], node[open_]] = True
            free[rows, node] = False
            free &= ~(self.edges[rows, node] & open_[:, None])
        return chosen

    def cost(self, solutions: Sets) -> Numbers:
        return -solutions.sum(1).astype(np.float64)

    def improve(self, solutions: Sets) -> Improved:
        """Free nodes join; then one node leaves for two that it alone keeps out (Andrade et al. 2012)."""
        found, moves = self._filled(solutions), np.zeros(len(self), dtype=np.int64)
        active = np.arange(len(self))
        while len(active):
            part = self.rows(active)
            better, swapped = part._exchanged(found[active])
            active = active[better]
            found[active] = self.rows(active)._filled(swapped[better])
            moves[active] += 1
        return Improved(found, moves)

    def kick(self, solutions: Sets, draws: Draws) -> Sets:
        """A random node from outside comes in, its neighbours leave."""
        u = draws.uniform(self.sites).numpy()
        node, rows = np.where(solutions, -1.0, u).argmax(1), np.arange(len(self))
        changed = solutions & ~self.edges[rows, node]
        changed[rows, node] = True
        return changed

    def _filled(self, solutions: Sets) -> Sets:
        """With nodes that nothing keeps out, those of least degree first, until there are none."""
        found, rows = solutions.copy(), np.arange(len(self))
        while True:
            free = ~found & ~(self.edges & found[:, None]).any(2)
            some = free.any(1)
            if not some.any():
                return found
            node = np.where(free, -self.degrees, -self.sites[0] - 1).argmax(1)
            found[rows[some], node[some]] = True

    def _exchanged(self, solutions: Sets) -> tuple[NDArray[np.bool_], Sets]:
        """Whether an exchange of one for two was found, and the sets after it."""
        rows, n = np.arange(len(self)), self.sites[0]
        among = self.edges & solutions[:, None]
        tight = ~solutions & (among.sum(2) == 1)
        keeper = among.argmax(2)
        pair = tight[:, :, None] & tight[:, None] & ~self.edges & (keeper[:, :, None] == keeper[:, None])
        pair &= np.triu(np.ones((n, n), dtype=bool), 1)
        first = pair.reshape(len(self), -1).argmax(1)
        a, b = first // n, first % n
        better = pair[rows, a, b]
        changed = solutions.copy()
        changed[rows, keeper[rows, a]] = False
        changed[rows, a] = changed[rows, b] = True
        return better, changed


def random_graphs(draws: Draws, n: int, probability: float = 0.15) -> NDArray[np.bool_]:
    """Erdős–Rényi graphs: each edge with that probability, (len(draws), n, n)."""
    if not 0 <= probability <= 1:
        raise UserError(f"the probability of an edge lies in [0, 1]; got {probability}")
    first, second = np.triu_indices(n, 1)
    present = draws.at("graph").uniform((len(first),), dtype=torch.float64).numpy() < probability
    edges = np.zeros((len(draws), n, n), dtype=bool)
    edges[:, first, second] = edges[:, second, first] = present
    return edges


def near_largest(problem: IndependentSet, draws: Draws, kicks: int = _KICKS) -> Sets:
    """Large sets to learn from: greedy, then iterated local search."""
    return search(problem, problem.decode(problem.nothing()), draws, kicks)
