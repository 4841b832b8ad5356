"""Have the chains mixed, and how many independent draws are they worth? (Vehtari et al. 2021.)"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.errors import UserError

MIXED = 1.05
"""Split-R̂ above which chains have not come to one law."""


def split_rhat(trace: Tensor) -> Tensor:
    """√(variance of all / variance within) over halves of chains (n, C, …) -> (…): near 1 where they agree.

    With one number per chain kept at the end, what matters is that chains agree with one another and each of them with
    its own past; both show here. It is ∞ where chains stand still apart from one another. Raises UserError for fewer
    than four states, or one chain.
    """
    n, chains = trace.shape[:2]
    if n < 4 or chains < 2:
        raise UserError(f"mixing is judged from at least two chains of four states each; got {chains} of {n}")
    half = n // 2
    parts = torch.cat((trace[:half], trace[n - half :]), 1)
    within = parts.var(0).mean(0)
    between = parts.mean(0).var(0)
    total = (half - 1) / half * within + between
    still = torch.where(between > 0, math.inf, 1.0).to(total)
    return torch.where(within > 0, total / torch.where(within > 0, within, 1), still).sqrt()


def effective_size(trace: Tensor) -> Tensor:
    """n·C/τ of chains (n, C, …) -> (…), τ from autocorrelations by Geyer's initial monotone sequence.

    Raises UserError as `split_rhat` does.
    """
    n, chains = trace.shape[:2]
    if n < 4 or chains < 2:
        raise UserError(f"mixing is judged from at least two chains of four states each; got {chains} of {n}")
    centred = trace - trace.mean(0)
    size = 2 ** math.ceil(math.log2(2 * n))
    spectrum = torch.fft.rfft(centred, size, 0)
    covariance = torch.fft.irfft(spectrum.abs() ** 2, size, 0)[:n] / n
    within = covariance[0].mean(0) * n / (n - 1)
    total = (n - 1) / n * within + trace.mean(0).var(0)
    rho = 1 - (within - covariance.mean(1)) / torch.where(total > 0, total, 1)
    pairs = rho[: n // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    kept = (pairs > 0).to(pairs).cumprod(0)
    decreasing = torch.cummin(pairs, 0).values
    tau = (-1 + 2 * (kept * decreasing).sum(0)).clamp(min=1 / math.log10(max(n * chains, 11)))
    return n * chains / tau


def weight_size(log_weights: Tensor) -> Tensor:
    """1/Σw² of normalised weights (S, …) -> (…): how many equal weights they are worth."""
    weights = log_weights.double().softmax(0)
    return 1 / weights.square().sum(0)
