"""How a ladder of noise for annealed Langevin sampling is chosen (Song & Ermon 2020, techniques 1, 2 and 4)."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm
from torch import Tensor

from pushforward.errors import UserError


def largest_sigma(points: Tensor, chunk: int = 1024) -> float:
    """σ_1, the largest distance between two points of the data (N, …): every mode is reached from every other."""
    flat = points.flatten(1).to(torch.float64)
    return max(float(torch.cdist(part, flat).max()) for part in flat.split(chunk))


def ladder_ratio(dim: int, overlap: float = 0.5) -> float:
    """γ = σ_i/σ_{i+1} for which neighbouring levels share `overlap` of their mass in D dimensions.

    Φ(√(2D)(γ − 1) + 3γ) − Φ(√(2D)(γ − 1) − 3γ) = overlap.
    """
    if dim < 1 or not 0 < overlap < 0.99:
        raise UserError(f"a ladder needs dim ≥ 1 and an overlap between 0 and 0.99; got {dim} and {overlap}")
    root = math.sqrt(2 * dim)

    def excess(gamma: float) -> float:
        return float(norm.cdf(root * (gamma - 1) + 3 * gamma) - norm.cdf(root * (gamma - 1) - 3 * gamma)) - overlap

    high = 1.1
    while excess(high) > 0:
        high = 1 + 2 * (high - 1)
        if high > 1e6:
            raise UserError(f"in {dim} dimensions neighbouring levels always share more than {overlap:g} of their mass")
    return float(brentq(excess, 1.0, high, xtol=1e-14))


def ladder_levels(largest: float, smallest: float, ratio: float) -> int:
    """How many levels a geometric ladder of nearly this ratio has, its two ends among them."""
    if not (0 < smallest < largest and ratio > 1):
        raise UserError(f"a ladder needs 0 < smallest < largest and a ratio > 1; got {smallest}, {largest}, {ratio}")
    return round(math.log(largest / smallest) / math.log(ratio)) + 1


def langevin_variance(start: float, share: float, updates: int) -> float:
    """The variance, in units of σ_i², after T Langevin updates at level i, for data at one point.

    a^{2T}(start − v) + v with a = 1 − ε/σ_L² and v = 2(ε/σ_L²)/(1 − a²); `share` is ε/σ_L², below 2.
    """
    a = 1 - share
    v = 2 * share / (1 - a**2)
    return a ** (2 * updates) * (start - v) + v


def langevin_step(ratio: float, updates: int, smallest: float = 0.01) -> float:
    """ε of α_i = ε(σ_i/σ_L)²: each level then ends as near as can be to its own variance, |s_T²/σ_i² − 1| least."""
    if updates < 1 or not ratio > 1:
        raise UserError(f"a ladder needs at least one update per level and a ratio > 1; got {updates}, {ratio}")

    def miss(log_share: float) -> float:
        return abs(langevin_variance(ratio**2, math.exp(log_share), updates) - 1)

    grid = np.linspace(math.log(1e-6), math.log(0.999), 2000)
    best = int(np.argmin([miss(g) for g in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return math.exp(minimize_scalar(miss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x) * smallest**2
