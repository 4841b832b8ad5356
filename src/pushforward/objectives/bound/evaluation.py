"""The bound of given items with every term, from one draw per level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.objectives.bound.steps import LastVariance, Steps, published_last
from pushforward.objectives.bound.terms import PIXELS, decoder_term, prior_term, transition_term
from pushforward.objectives.decoders import Decoder
from pushforward.paths.gaussian import Level
from pushforward.samplers.ancestral import FreshNoise, fixed_large


class Bound(NamedTuple):
    """−log p(x_0) ≤ prior + Σ transitions + decoder, in nats: (B,), (B, K − 1) from noise to data, (B,)."""

    prior: Tensor
    transitions: Tensor
    decoder: Tensor

    @property
    def nats(self) -> Tensor:
        """The bound per sample: (B,)."""
        return self.prior + self.transitions.sum(1) + self.decoder

    def bits_per_dim(self, dim: int) -> Tensor:
        """The bound per sample in bits per coordinate: (B,)."""
        return self.nats / (dim * math.log(2))


@torch.no_grad()
def variational_bound(
    denoiser: Denoiser,
    x0: Tensor,
    levels: Sequence[Level],
    draws: Draws,
    *,
    variance: FreshNoise = fixed_large,
    decoder: Decoder = PIXELS,
    last: LastVariance = published_last,
    prior_sd: float | None = None,
    batch: int = 256,
) -> Bound:
    """The bound of each x0: (B, …) with every term, from one draw of x_t per level; K evaluations.

    The terms are unbiased; average over samples for the bound of a data set. Memory: that of one batch and (B, K)
    numbers. Sample i's draws are those of `draws` i, however the batch is cut. Raises UserError where the analytic
    variance is asked of a denoiser that knows none.
    """
    if len(draws) != len(x0):
        raise UserError(f"there are {len(x0)} samples and {len(draws)} keys for their randomness; one each is needed")
    steps = Steps.of(levels, variance, last)
    parts = []
    for start in range(0, len(x0), batch):
        rows = torch.arange(start, min(start + batch, len(x0)), device=x0.device)
        some = denoiser if len(rows) == len(x0) else denoiser.rows(rows)
        parts.append(_terms(some, x0[rows], steps, draws[rows], decoder, prior_sd))
    return Bound(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _terms(
    denoiser: Denoiser, x0: Tensor, steps: Steps, draws: Draws, decoder: Decoder, prior_sd: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    def estimate(k: int) -> Estimate:
        level = steps.levels[k]
        return denoiser.estimate(denoiser.path.mix(x0, draws.at("bound", k).normal_like(x0), level), level)

    last = len(steps) - 1
    transitions = [transition_term(estimate(k), x0, steps.at(k)) for k in range(last)]
    stacked = torch.stack(transitions, 1) if transitions else x0.new_zeros(len(x0), 0, dtype=torch.float64)
    first = prior_term(x0, steps.levels[0], prior_sd)
    return first, stacked, decoder_term(estimate(last), x0, steps.at(last), decoder)
