"""Draws of whole numbers whose law is given site by site: categorical and Poisson, exact into the tails.

A law held in float32 and sampled by float32 Gumbel noise loses its tails: 24 bits of a uniform do not reach beyond
log(2²⁴) ≈ 17, and a tail of mass 1e-3 is then drawn at 1e-4. Here one uniform of 53 bits meets a float64 sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.numerics.random import Draws

_SUMMED = 500.0
"""Rates up to which the masses of 0, 1, 2, … events are summed; beyond, e^{−rate} is soon no number any more."""


def categorical(weights: Tensor, draws: Draws) -> Tensor:
    """An index with probability proportional to its weight: (B, …, S) not negative, in any unit -> int64 (B, …).

    One uniform per site. An index of weight 0 is never drawn.
    """
    sums = weights.to(torch.float64).cumsum(-1)
    whole = sums[..., -1:]
    u = draws.uniform(weights.shape[1:-1], torch.float64).unsqueeze(-1) * whole
    u = torch.minimum(u, torch.nextafter(whole, torch.zeros_like(whole)))  # rounding must not reach the last sum
    found = torch.searchsorted(sums, u, right=True).squeeze(-1)
    return found.clamp(max=weights.shape[-1] - 1)


def poisson(rate: Tensor, draws: Draws) -> Tensor:
    """Poisson counts of these rates, by inversion: (B, …) -> int64 (B, …)."""
    rate = rate.to(torch.float64)
    u = draws.uniform(rate.shape[1:], torch.float64)
    count, large = _summed(rate.clamp(max=_SUMMED), u), rate > _SUMMED
    return count.masked_scatter(large, _halved(rate[large], u[large])) if bool(large.any()) else count


def _summed(rate: Tensor, u: Tensor) -> Tensor:
    """The smallest k with P(N ≤ k) ≥ u, looked for from 0 upwards."""
    mass = torch.exp(-rate)
    total, count, k = mass.clone(), torch.zeros(rate.shape, dtype=torch.int64, device=rate.device), 0
    while bool((more := (u > total) & (mass > 0)).any()):
        k += 1
        mass = mass * rate / k
        total = total + mass
        count = torch.where(more, count + 1, count)
    return count


def _halved(rate: Tensor, u: Tensor) -> Tensor:
    """The same between 0 and twelve standard deviations above the mean; P(N ≤ k) is a Gamma function's share."""
    low, high = torch.zeros_like(rate), torch.ceil(rate + 12 * rate.sqrt())
    while bool((low < high).any()):
        middle = torch.floor((low + high) / 2)
        enough = torch.special.gammaincc(middle + 1, rate) >= u
        low, high = torch.where(enough, low, middle + 1), torch.where(enough, middle, high)
    return low.long()
