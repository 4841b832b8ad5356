"""Maximum mean discrepancy with the cubic kernel of KID, unbiased, with its bootstrap standard deviation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.metrics.checks import Samples, pair
from pushforward.numerics.random import integers, key, keys


class Measured(NamedTuple):
    """A number and its standard deviation."""

    value: float
    sd: float


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(xᵀy / F + 1)³ for all pairs: (N, F), (M, F) -> (N, M) (Bińkowski et al. 2018)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _weighted_mmd2(kxx: Tensor, kyy: Tensor, kxy: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The U-statistic with weights u (R, N), v (R, M) on the items; an item is never paired with itself."""

    def within(kernel: Tensor, w: Tensor) -> Tensor:
        squares = w.square()
        pairs = ((w @ kernel) * w).sum(1) - squares @ kernel.diagonal()
        return pairs / (w.sum(1).square() - squares.sum(1))

    between = ((u @ kxy) * v).sum(1) / (u.sum(1) * v.sum(1))
    return within(kxx, u) + within(kyy, v) - 2 * between


def _bootstrap_counts(base: int, repeats: int, count: int) -> Tensor:
    """How often each of `count` items is drawn in `repeats` resamplings with replacement: float64 (repeats, count)."""
    drawn = integers(keys(base, range(repeats)), count, (count,))
    counts = torch.zeros(repeats, count, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones(drawn.shape, dtype=torch.float64))


def kernel_mmd2(x: Samples, y: Samples, repeats: int = 200, seed: int = 0) -> Measured:
    """Unbiased estimate of MMD² = E k(X, X′) + E k(Y, Y′) − 2 E k(X, Y) and its bootstrap standard deviation.

    The estimate may be negative: its mean is zero for equal laws (Gretton et al. 2012). Both sets are resampled with
    replacement, copies of one item never being paired. For equal laws the bootstrap of this statistic is conservative
    (up to √3 too wide). The kernel is not scale-free: give features of about unit variance.
    """
    a, b = pair(x, y)
    kernels = cubic_kernel(a, a), cubic_kernel(b, b), cubic_kernel(a, b)
    ones = torch.ones(1, len(a), dtype=torch.float64), torch.ones(1, len(b), dtype=torch.float64)
    value = float(_weighted_mmd2(*kernels, *ones))
    u = _bootstrap_counts(key(seed, "mmd", "x"), repeats, len(a))
    v = _bootstrap_counts(key(seed, "mmd", "y"), repeats, len(b))
    # A resample of very few items may hold one item alone and so no pair.
    again = _weighted_mmd2(*kernels, u, v)
    again = again[torch.isfinite(again)]
    return Measured(value, float(again.std()) if len(again) > 1 else float("nan"))
