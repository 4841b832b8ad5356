"""Quantiles of draws such that a further draw lies below them with the probability that they are named by."""

from __future__ import annotations

import torch
from torch import Tensor


def order_quantile(samples: Tensor, q: float) -> Tensor:
    """(S, …) -> (…): the value of rank (S + 1) q, between two draws by a straight line.

    Of S + 1 exchangeable draws the last is below the k-th smallest of the others with probability k/(S + 1).
    """
    ordered = samples.sort(0).values
    rank = min(max((len(samples) + 1) * q - 1, 0.0), len(samples) - 1.0)
    low = min(int(rank), len(samples) - 2) if len(samples) > 1 else 0
    high = min(low + 1, len(samples) - 1)
    return torch.lerp(ordered[low], ordered[high], rank - low)


def weighted_quantile(samples: Tensor, log_weights: Tensor, q: float) -> Tensor:
    """(S, B, …), (S, B) -> (B, …): as `order_quantile` of the draws that the weights are worth, n = 1/Σw².

    A draw stands at (n p + ½)/(n + 1), p the weights of all smaller draws and half of its own: at k/(S + 1) where all
    count alike.
    """
    ordered, index = samples.sort(0)
    weights = log_weights.double().softmax(0)
    weights = weights.reshape(*weights.shape, *(1,) * (samples.ndim - 2)).expand_as(samples)
    share = weights.gather(0, index)
    worth = 1 / weights.square().sum(0)
    reached = (worth * (share.cumsum(0) - share / 2) + 0.5) / (worth + 1)
    above = (reached < q).sum(0, keepdim=True).clamp(1, len(samples) - 1)
    low, high = (reached.gather(0, at) for at in (above - 1, above))
    part = ((q - low) / (high - low).clamp(min=1e-300)).clamp(0, 1).to(samples.dtype)
    return torch.lerp(ordered.gather(0, above - 1), ordered.gather(0, above), part)[0]
