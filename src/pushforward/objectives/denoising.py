"""Denoising losses: w(t)·|F − F*|² for every prediction, path, weighting and law of times (Ho et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.precondition import Prediction
from pushforward.numerics.broadcast import batch_of, mean_per_sample
from pushforward.numerics.random import Draws
from pushforward.objectives.weighting import Weighting, output_weighting
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.times import TimeLaw, Times


class Trainable(Protocol):
    """What can be trained to denoise: a `NetworkDenoiser`, or anything whose `Estimate.output` is its network's."""

    @property
    def path(self) -> GaussianPath: ...

    @property
    def prediction(self) -> Prediction: ...

    def estimate(self, x: Tensor, level: Level) -> Estimate: ...


def denoising_error(denoiser: Trainable, x0: Tensor, z: Tensor, level: Level) -> Tensor:
    """The mean over coordinates of |F − F*|² at a level: (B,)."""
    output = denoiser.estimate(denoiser.path.mix(x0, z, level), level).output
    return mean_per_sample((output - denoiser.prediction.target(x0, z, level)).square())


def denoising_loss(
    denoiser: Trainable,
    x0: Tensor,
    draws: Draws,
    law: TimeLaw,
    weighting: Weighting = output_weighting,
    *,
    noise: Tensor | None = None,
    uncertainty: nn.Module | None = None,
    observe: Callable[[Times, Tensor], None] | None = None,
) -> Tensor:
    """w(t)·(mean over coordinates of |F − F*|²) at one random time and noise per sample: x0 (B, …) -> (B,).

    The network is called once. `noise` (B, …) is given where it is not independent of x0 (`coupled`). With
    `uncertainty`, u(t), the loss is e^{−u}·loss + u (Karras et al. 2024). `observe` is told the times and the losses
    before importance weights, e.g. `LossAware.observe`.
    """
    times = law(denoiser.path, draws.at("time"))
    level = denoiser.path.level(times.t)
    noise = draws.at("noise").normal_like(x0) if noise is None else noise
    loss = denoising_error(denoiser, x0, noise, level)
    weight = weighting(level, denoiser.prediction)
    if not (isinstance(weight, float) and weight == 1.0):
        loss = loss * batch_of(weight, len(loss), loss.device).to(loss.dtype)
    if observe is not None:
        observe(times, loss.detach())
    if uncertainty is not None:
        u = uncertainty(level)
        loss = loss * (-u).exp() + u
    return loss if times.weight is None else loss * times.weight.to(loss.dtype)
