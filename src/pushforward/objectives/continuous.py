"""The variational bound in continuous time, for any path (Kingma et al. 2021).

−log p(x_0) ≤ KL(q(x_T | x_0) ‖ prior) + ∫ E‖z − ẑ(x_λ)‖² dλ + decoder, over λ = log(α/σ) from the noise end to the
data end: the limit of the bound of ever more steps. It depends on the path only through the two ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.objectives.bound import PIXELS, prior_term
from pushforward.objectives.decoders import Decoder
from pushforward.paths.grids import finite_ends


class ContinuousBound(NamedTuple):
    """−log p(x_0) ≤ prior + diffusion + decoder, in nats: (B,) each."""

    prior: Tensor
    diffusion: Tensor
    decoder: Tensor

    @property
    def nats(self) -> Tensor:
        """The bound per sample: (B,)."""
        return self.prior + self.diffusion + self.decoder

    def bits_per_dim(self, dim: int) -> Tensor:
        """The bound per sample in bits per coordinate: (B,)."""
        return self.nats / (dim * math.log(2))


def last_variance(estimate: Estimate) -> Tensor:
    """Var[x_0 | x_t] if the denoiser knows it, else σ²/α², what it is where the noise is small beside the data."""
    if estimate.var is not None:
        return estimate.var
    return torch.as_tensor(float(estimate.level.sigma) ** 2 / float(estimate.level.alpha) ** 2)


def continuous_bound(
    denoiser: Denoiser,
    x0: Tensor,
    draws: Draws,
    *,
    points: int = 1,
    decoder: Decoder = PIXELS,
    decoder_variance: Callable[[Estimate], Tensor] = last_variance,
    prior_sd: float | None = None,
) -> ContinuousBound:
    """The bound of each x0 (B, …) from `points` stratified levels and one for the decoder: points + 1 evaluations.

    Unbiased and differentiable: with `points=1` a training loss. Where the path ends at α = 0 it is cut at λ = −6.
    """
    path = denoiser.path
    noise_end, data_end = finite_ends(path)
    span = data_end - noise_end
    total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    offset = draws.at("level").uniform((), torch.float64)
    for i in range(points):
        level = path.level(path.time(noise_end + span * (i + offset) / points))
        z = draws.at("noise", i).normal_like(x0)
        miss = z - denoiser.estimate(path.mix(x0, z, level), level).noise
        total = total + span / points * sum_per_sample(miss.double().square())
    top, bottom = (path.level(float(path.time(torch.tensor(v, dtype=torch.float64)))) for v in (noise_end, data_end))
    last = denoiser.estimate(path.mix(x0, draws.at("decoder").normal_like(x0), bottom), bottom)
    var = decoder_variance(last).double().to(x0.device)
    sd = (var if var.ndim in (0, x0.ndim) else var.reshape(-1, *(1,) * (x0.ndim - 1))).sqrt().expand(x0.shape)
    reconstruction = -sum_per_sample(decoder(x0.double(), last.mean.double(), sd))
    return ContinuousBound(prior_term(x0, top, prior_sd), total, reconstruction)
