"""The bound as a training loss: one of its terms per item, drawn at random; and the hybrid that trains a variance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.estimate import Estimate
from pushforward.numerics.broadcast import expand, mean_per_sample
from pushforward.numerics.random import Draws
from pushforward.objectives.bound.steps import Steps
from pushforward.objectives.bound.terms import PIXELS, decoder_term, transition_term
from pushforward.objectives.decoders import Decoder
from pushforward.objectives.denoising import Trainable
from pushforward.paths.gaussian import Level
from pushforward.paths.times import TimeLaw, Times, UniformLevels
from pushforward.samplers.ancestral import FreshNoise, fixed_large


class Term(NamedTuple):
    """One random term of the bound, and the squared error of the same network output, over how likely the law made it.

    (B,) each.
    """

    nats: Tensor
    error: Tensor


def random_term(
    denoiser: Trainable,
    x0: Tensor,
    draws: Draws,
    levels: Sequence[Level] | Steps,
    *,
    variance: FreshNoise = fixed_large,
    decoder: Decoder = PIXELS,
    law: TimeLaw | None = None,
    stop_mean: bool = False,
    observe: Callable[[Times, Tensor], None] | None = None,
) -> Term:
    """K·(one of the K terms L_{T−1} … L_0, drawn per sample), divided by how much likelier the law made it.

    Its expectation is the bound without L_T, which has no parameters; one call of the network. `law` draws k/K, k = 1
    for the decoder (default: all alike; `LossAware(UniformLevels(K), cells=K)` samples where the terms are large, if
    it is told of them: `observe=law.observe`). With `stop_mean` only the variance receives gradients (Nichol & Dhariwal
    2021).
    """
    steps = (levels if isinstance(levels, Steps) else Steps.of(levels, variance)).to(x0.device)
    count = len(steps)
    times = (law or UniformLevels(count))(denoiser.path, draws.at("time"))
    k = count - torch.round(times.t * count).long().clamp(1, count)
    level, scalars = steps.level(k), steps.at(k)
    z = draws.at("noise").normal_like(x0)
    estimate = denoiser.estimate(denoiser.path.mix(x0, z, level), level)
    error = mean_per_sample((estimate.output - denoiser.prediction.target(x0, z, level)).square())
    if stop_mean:
        estimate = _stopped(estimate)
    is_last = k == count - 1
    inner = torch.where(is_last, 0.0, transition_term(estimate, x0, scalars))
    # the decoder's tails would send nan gradients through the samples that do not use it: they decode themselves
    keep = expand(is_last.to(x0.dtype), x0)
    safe = Estimate.of_mean(estimate.x, level, estimate.mean * keep + x0 * (1 - keep), estimate.var)
    outer = torch.where(is_last, decoder_term(safe, x0, scalars, decoder), 0.0)
    nats = count * (inner + outer)
    if observe is not None:
        observe(times, nats.detach())
    if times.weight is None:
        return Term(nats, error)
    return Term(nats * times.weight, error * times.weight.to(error.dtype))


def bound_loss(
    denoiser: Trainable,
    x0: Tensor,
    draws: Draws,
    levels: Sequence[Level] | Steps,
    *,
    variance: FreshNoise = fixed_large,
    decoder: Decoder = PIXELS,
    law: TimeLaw | None = None,
    observe: Callable[[Times, Tensor], None] | None = None,
) -> Tensor:
    """The bound as a training loss, one random term per sample, in nats per coordinate: (B,)."""
    term = random_term(denoiser, x0, draws, levels, variance=variance, decoder=decoder, law=law, observe=observe)
    return term.nats / x0[0].numel()


def hybrid_loss(
    denoiser: Trainable,
    x0: Tensor,
    draws: Draws,
    levels: Sequence[Level] | Steps,
    *,
    variance: FreshNoise,
    decoder: Decoder = PIXELS,
    law: TimeLaw | None = None,
    observe: Callable[[Times, Tensor], None] | None = None,
    weight: float = 1e-3,
) -> Tensor:
    """|F − F*|² + weight·(bound per coordinate, the mean held fixed): how a learned variance is trained: (B,).

    Nichol & Dhariwal (2021); one call of the network. Pass `analytic` as the variance, with a `LearnedVariance`.
    """
    term = random_term(
        denoiser, x0, draws, levels, variance=variance, decoder=decoder, law=law, stop_mean=True, observe=observe
    )
    return term.error + weight * term.nats / x0[0].numel()


def _stopped(estimate: Estimate) -> Estimate:
    return Estimate(estimate.x, estimate.level, estimate.output.detach(), estimate.reading, estimate.var)
