"""The variational bound −log p(x_0) ≤ L_T + Σ L_{t−1} + L_0 of an ancestral model, term by term (Ho et al. 2020).

Along a grid from noise to clean data the model steps by N(μ, ℓ²), where μ is the mean of q(x_s | x_t, x_0) at
x_0 = E[x_0 | x_t], so that with β̃ its variance and c its weight of x_0

    L_T = KL(q(x_T | x_0) ‖ prior),   L_{t−1} = ½ Σ [log ℓ²/β̃ + β̃/ℓ² − 1 + c²(x_0 − E[x_0 | x_t])²/ℓ²],

and L_0 is the decoder's −log p(x_0) at the last level. ℓ² is the sampler's: `fixed_small`, `fixed_large` or `analytic`,
which takes Var[x_0 | x_t] from the denoiser, be it exact, estimated or learned. Any grid on any path; for the published
bound of a table, `table_levels(table)`. In nats, per sample, summed over coordinates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand, mean_per_sample, sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.objectives.decoders import Decoder, DiscretisedGaussian
from pushforward.objectives.denoising import Trainable
from pushforward.paths.gaussian import CLEAN, Level, posterior_scales
from pushforward.paths.grids import check_decreasing
from pushforward.paths.table import Table
from pushforward.paths.times import TimeLaw, Times, UniformLevels
from pushforward.samplers.ancestral import FreshNoise, fixed_large

PIXELS = DiscretisedGaussian()


LastVariance = Callable[[Level, float | None], float]
"""(last level, β̃ of the step before or None) -> the decoder's ℓ², which the samplers' rules leave open (β̃ is 0)."""


def published_last(level: Level, small: float | None) -> float:
    """β̃ of the step before, for either rule: what every published bound of a table takes."""
    return noise_last(level, None) if small is None else small


def noise_last(level: Level, small: float | None) -> float:
    """σ²/α²: right for a last level of little noise, on any grid; β_1 on a table."""
    return float(level.sigma / level.alpha) ** 2


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


@dataclass(frozen=True)
class Steps:
    """The scalars of all K intervals of a grid, from noise to data: float64 (K,) each."""

    levels: tuple[Level, ...]
    places: Tensor  # (t, α, σ) of the noisier end: (K, 3)
    small: Tensor  # β̃; at the last interval ℓ², where there is no posterior to compare with
    weight: Tensor  # c
    known: Tensor  # the part of ℓ² that does not need Var[x_0 | x_t]
    spread: Tensor  # c² where ℓ² = known + c² Var[x_0 | x_t], else 0

    @staticmethod
    def of(levels: Sequence[Level], variance: FreshNoise, last: LastVariance = published_last) -> Steps:
        """For a grid that ends in clean data. Raises UserError for another."""
        if len(levels) < 2 or levels[-1].sigma != 0:
            raise UserError("the levels of a bound must decrease from noise to clean data (σ = 0 at the last)")
        check_decreasing(levels)
        rows: list[tuple[float, float, float, float]] = []
        for t, s in itertools.pairwise(levels):
            _, weight, small = (float(v) for v in posterior_scales(s, t))
            known, estimated = variance(float(1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2), t, s)
            if s.sigma == 0 and not estimated:
                known = last(t, rows[-1][0] if rows else None)
            rows.append((small if s.sigma > 0 else max(known, 1e-300), weight, known, weight**2 if estimated else 0.0))
        places = [[level.t, level.alpha, level.sigma] for level in levels[:-1]]
        columns = torch.tensor(rows, dtype=torch.float64).unbind(1)
        return Steps(tuple(levels), torch.tensor(places, dtype=torch.float64), *columns)

    def __len__(self) -> int:
        return len(self.levels) - 1

    def to(self, device: torch.device) -> Steps:
        """The same on another device."""
        columns = (self.places, self.small, self.weight, self.known, self.spread)
        return self if self.small.device == device else Steps(self.levels, *(c.to(device) for c in columns))

    def level(self, k: Tensor) -> Level:
        """The noisier levels of intervals k: (B,), one per sample."""
        return Level(*self.places[k].unbind(1))

    def at(self, k: int | Tensor) -> tuple[Scalar, Scalar, Scalar, Scalar]:
        """(β̃, c, known, spread) of an interval for all, or of one per sample (B,)."""
        small, weight, known, spread = self.small[k], self.weight[k], self.known[k], self.spread[k]
        if isinstance(k, int):
            return float(small), float(weight), float(known), float(spread)
        return small, weight, known, spread


def table_levels(table: Table) -> tuple[Level, ...]:
    """All levels of a table from T to 1, then clean data: the grid of the published bound."""
    return (*table.levels(torch.arange(len(table), 0, -1, dtype=torch.float64) / len(table)), CLEAN)


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


class Term(NamedTuple):
    """One random term of the bound, and the squared error of the same network output (both (B,))."""

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
    return Term(nats if times.weight is None else nats * times.weight, error)


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
