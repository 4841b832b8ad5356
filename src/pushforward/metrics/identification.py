"""Whether what was decoded can be told from what it was not: n-way identification, and what chance would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from pushforward.errors import UserError
from pushforward.numerics.random import Draws


@dataclass(frozen=True)
class Identified:
    """The share of items picked out of n candidates, `chance` = 1/n, and how often random pairings do as well."""

    ways: int
    share: float
    p_value: float

    @property
    def chance(self) -> float:
        return 1 / self.ways


def identify(likeness: np.ndarray, ways: int = 2, *, shuffles: int = 1000, seed: int = 0) -> Identified:
    """Of likeness (n, n), decoded i with true j: is the true one the likest of itself and n − 1 others?

    Exact over all choices of the others, without drawing any: with k of them less like (ties count half), the chance
    that all ways − 1 are among those k. The p-value counts pairings in random order that identify as many.
    """
    n = len(likeness)
    if likeness.shape != (n, n) or not 2 <= ways <= n:
        raise UserError(f"{ways}-way identification needs at least {ways} items; got likeness {likeness.shape}")
    shares = _shares(likeness, ways)
    share = float(np.diag(shares).mean())
    others = Draws.of(seed, range(shuffles), "identify").uniform((n,), torch.float64).argsort(1).numpy()
    as_good = int((shares[np.arange(n), others].mean(1) >= share - 1e-12).sum())
    return Identified(ways, share, (1 + as_good) / (1 + shuffles))


def _shares(likeness: np.ndarray, ways: int) -> np.ndarray:
    """(n, n): how often j would be picked for i, were it the true one."""
    ordered = np.sort(likeness, 1)
    pairs = list(zip(ordered, likeness, strict=True))
    below = np.stack([np.searchsorted(row, values, "left") for row, values in pairs])
    tied = np.stack([np.searchsorted(row, values, "right") for row, values in pairs]) - below - 1
    k = below + tied / 2
    total = math.comb(len(likeness) - 1, ways - 1)
    return np.vectorize(lambda value: _choose(value, ways - 1) / total)(k)


def _choose(n: float, k: int) -> float:
    """C(n, k), between whole n linearly: half a tie."""
    low = math.floor(n)
    return math.comb(low, k) + (n - low) * (math.comb(low + 1, k) - math.comb(low, k))
