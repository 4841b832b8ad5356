"""log p(x) by importance sampling, with how sure it is of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.vae.joint import Joint


class Evidence(NamedTuple):
    """log (1/k) Σ_j w_j of each item, float64 (B,), in nats: below log p(x) in expectation, and nearer with every draw.

    `standard_error` is that of the logarithm of a mean of k weights (delta method), inf for a single draw; `effective`
    is 1/Σ ŵ_j², how many draws of the exact posterior the k are worth. Where that is small, both are too hopeful.
    """

    value: Tensor
    standard_error: Tensor
    effective: Tensor


@torch.no_grad()
def evidence(joint: Joint, draws: Draws, samples: int, *, rows: int = 4096) -> Evidence:
    """Estimate log p(x) with k = `samples` draws per item, exactly as many, decoding about `rows` items at once.

    Draw j of an item is the same whatever k is and however the work is cut. Raises UserError for k below 1.
    """
    if samples < 1:
        raise UserError(f"The number of importance samples must be at least 1; got {samples}.")
    at_once = max(1, rows // max(1, len(draws)))
    first, second = [], []
    for start in range(0, samples, at_once):
        log_w = joint.log_weights(draws, range(start, min(start + at_once, samples))).double()
        first.append(log_w.logsumexp(0))
        second.append((2 * log_w).logsumexp(0))
    total, squares = torch.stack(first).logsumexp(0), torch.stack(second).logsumexp(0)
    effective = (2 * total - squares).exp()
    spread = (samples / effective - 1).clamp(min=0) / (samples - 1) if samples > 1 else torch.full_like(total, math.inf)
    return Evidence(total - math.log(samples), spread.sqrt(), effective)
