"""The terms of the bound, each from one Estimate: the prior's, a transition's, the decoder's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, sum_per_sample
from pushforward.objectives.decoders import Decoder, DiscretisedGaussian
from pushforward.paths.gaussian import Level

PIXELS = DiscretisedGaussian()


def prior_term(x0: Tensor, level: Level, prior_sd: float | None = None) -> Tensor:
    """L_T = KL(N(αx_0, σ²) ‖ N(0, prior_sd²)): (B,). The default prior has the variance α² + σ² (1 for DDPM)."""
    alpha, sigma = float(level.alpha), float(level.sigma)
    square = alpha**2 + sigma**2 if prior_sd is None else prior_sd**2
    constant = sigma**2 / square - 1 - math.log(sigma**2 / square)
    return sum_per_sample(0.5 * ((alpha * x0.double()) ** 2 / square + constant))


def transition_term(estimate: Estimate, x0: Tensor, scalars: tuple[Scalar, Scalar, Scalar, Scalar]) -> Tensor:
    """L_{t−1} from an Estimate at x_t and the scalars of `Steps.at`: (B,)."""
    small, weight, _, _ = scalars
    var, small_ = _variance(estimate, scalars), _wide(small, x0)
    miss = (_wide(weight, x0) * (x0.double() - estimate.mean.double())) ** 2
    ratio = small_ / var
    return sum_per_sample((0.5 * (ratio - 1 - torch.log(ratio) + miss / var)).expand(x0.shape))


def decoder_term(
    estimate: Estimate, x0: Tensor, scalars: tuple[Scalar, Scalar, Scalar, Scalar], decoder: Decoder = PIXELS
) -> Tensor:
    """L_0 = −log p(x_0 | x_1): (B,)."""
    sd = _variance(estimate, scalars).sqrt().expand(x0.shape)
    return -sum_per_sample(decoder(x0.double(), estimate.mean.double(), sd))


def _wide(scalar: Scalar, like: Tensor) -> Tensor:
    """A scalar or one per sample as float64, shaped to broadcast with `like`."""
    value = torch.as_tensor(scalar, dtype=torch.float64, device=like.device)
    return value.reshape(-1, *(1,) * (like.ndim - 1)) if value.ndim else value


def _variance(estimate: Estimate, scalars: tuple[Scalar, Scalar, Scalar, Scalar]) -> Tensor:
    """ℓ² = known + spread·Var[x_0 | x_t], as float64 that broadcasts with x_0."""
    _, _, known, spread = scalars
    fixed, factor = _wide(known, estimate.x), _wide(spread, estimate.x)
    if not isinstance(spread, Tensor) and spread == 0:
        return fixed
    var = estimate.var
    if var is None:
        if isinstance(spread, Tensor) and not bool((spread > 0).any()):
            return fixed
        raise UserError(
            "the analytic variance needs Var[x_0 | x_t], which this denoiser does not give; choose fixed_small or "
            "fixed_large, or estimate the variance first"
        )
    wide = var.double() if var.ndim == estimate.x.ndim else _wide(var, estimate.x)
    return (fixed + factor * wide).clamp(min=1e-20)
