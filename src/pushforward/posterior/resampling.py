"""Weighted samples drawn anew, so that they count alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.numerics.random import Draws
from pushforward.posterior.diagnostics import weight_size


class Resampled(NamedTuple):
    """Which samples to take, (S, B), and their log-weights, normalised, (S, B)."""

    chosen: Tensor
    log_weights: Tensor


def systematic(log_weights: Tensor, draws: Draws, threshold: float | Tensor) -> Resampled:
    """Of items whose weights (S, B) are worth less than `threshold`·S samples, draw anew; of others, change nothing.

    Systematic: sample i is taken ⌊S w_i⌋ or ⌈S w_i⌉ times, by one uniform per item, so that equal weights stay as they
    are (Kitagawa 1996).
    """
    samples = len(log_weights)
    weights = log_weights.double().softmax(0)
    at = (torch.arange(samples, device=weights.device)[:, None] + draws.uniform((), torch.float64)) / samples
    index = torch.searchsorted(weights.cumsum(0).T.contiguous(), at.T.contiguous()).T.clamp(max=samples - 1)
    anew = weight_size(log_weights) < samples * threshold
    stay = torch.arange(samples, device=weights.device)[:, None].expand_as(index)
    flat = torch.zeros_like(weights)
    return Resampled(torch.where(anew, index, stay), torch.where(anew, flat, log_weights.double()).log_softmax(0))
