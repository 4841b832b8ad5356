"""Var[x_0 | x_t] for denoisers that know only the mean: estimated on data (Analytic-DPM), or learned by the network.

Averaged over coordinates and data it is σ²/α²·(1 − Γ) with Γ = E‖ẑ‖²/d (Bao et al. 2022). It is kept relative to the
variance σ²/(α² + σ²) of unit Gaussian data, which makes it a slowly varying number of order one at every level.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.precondition import Prediction
from pushforward.denoisers.wrappers import Wrapper
from pushforward.errors import UserError
from pushforward.numerics.broadcast import mean_per_sample
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level, posterior_scales
from pushforward.paths.table import Table

Estimator = Callable[[Tensor, Tensor, Level], Tensor]
"""(estimated noise, true noise, level) -> per-sample contributions (B,) to 1 − Γ."""


def noise_power(estimated: Tensor, noise: Tensor, level: Level) -> Tensor:
    """1 − ‖ẑ‖²/d as published, with the known E‖z‖²/d = 1 estimated from the same noise, which cancels most error."""
    return mean_per_sample(noise.square() - estimated.square())


def squared_error(estimated: Tensor, noise: Tensor, level: Level) -> Tensor:
    """‖z − ẑ‖²/d: the same for an exact denoiser, and the optimal variance for an inexact one; never negative."""
    return mean_per_sample((noise - estimated).square())


@dataclass(frozen=True)
class VarianceTable:
    """Var[x_0 | x_t] at some λ = log(α/σ), in units of σ²/(α² + σ²); between them linear in λ, beyond them constant."""

    log_ratios: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in itertools.pairwise(self.log_ratios))
        finite = all(map(math.isfinite, (*self.log_ratios, *self.shares)))
        if not self.log_ratios or len(self.log_ratios) != len(self.shares) or not increasing or not finite:
            raise UserError("a table of variances needs as many shares as λ, all finite, the λ increasing")

    def share(self, log_ratio: float) -> float:
        """The variance at λ in units of σ²/(α² + σ²)."""
        k = bisect_right(self.log_ratios, log_ratio)
        if k in (0, len(self.log_ratios)):
            return self.shares[0 if k == 0 else -1]
        low, high = self.log_ratios[k - 1], self.log_ratios[k]
        part = (log_ratio - low) / (high - low)
        return self.shares[k - 1] + part * (self.shares[k] - self.shares[k - 1])

    def var(self, level: Level) -> float:
        """Var[x_0 | x_t] at a level of the whole batch."""
        alpha, sigma = float(level.alpha), float(level.sigma)
        return self.share(float(level.log_ratio)) * sigma**2 / (alpha**2 + sigma**2)

    def gamma(self, level: Level) -> float:
        """Γ = E‖ẑ‖²/d = 1 − (α/σ)² Var[x_0 | x_t]."""
        return 1 - (float(level.alpha) / float(level.sigma)) ** 2 * self.var(level)

    def var_per_sample(self, level: Level, like: Tensor) -> Tensor:
        """Var[x_0 | x_t]: (B,) in the dtype of `like`, one level per sample or one for all."""
        if not isinstance(level.log_ratio, Tensor):
            return like.new_full((len(like),), self.var(level))
        ratio, alpha, sigma = (torch.as_tensor(s).double() for s in (level.log_ratio, level.alpha, level.sigma))
        nodes, shares = (
            torch.tensor(v, dtype=torch.float64, device=alpha.device) for v in (self.log_ratios, self.shares)
        )
        if len(nodes) == 1:
            share = shares.expand_as(ratio)
        else:
            k = torch.searchsorted(nodes, ratio).clamp(1, len(nodes) - 1)
            part = ((ratio - nodes[k - 1]) / (nodes[k] - nodes[k - 1])).clamp(0, 1)
            share = torch.lerp(shares[k - 1], shares[k], part)
        return (share * sigma**2 / (alpha**2 + sigma**2)).to(like)


NO_CONDITIONS: Mapping[str, Tensor] = {}


@torch.no_grad()
def estimate_variances(
    denoiser: Denoiser,
    x0: Tensor,
    levels: Sequence[Level],
    draws: Draws,
    *,
    conditions: Mapping[str, Tensor] = NO_CONDITIONS,
    estimator: Estimator = noise_power,
    batch: int = 512,
) -> VarianceTable:
    """Γ by one pass over data x0 (N, …) per level: N·len(levels) evaluations, memory of one batch.

    `conditions` are those of the data (N, …): a conditional model needs them, and the result is then pooled over them.
    For a guided denoiser, whose mean is no posterior mean, only `squared_error` has a meaning. Levels need σ, α > 0.
    """
    if len(draws) != len(x0):
        raise UserError(f"there are {len(x0)} samples and {len(draws)} keys for their randomness; one each is needed")
    if not levels or any(not (level.sigma > 0 and level.alpha > 0) for level in levels):
        raise UserError("variances can be estimated only at levels with α > 0 and σ > 0")
    found = {}
    for number, level in enumerate(levels):
        total = 0.0
        for start in range(0, len(x0), batch):
            rows = slice(start, start + batch)
            here = {name: value[rows] for name, value in conditions.items()}
            bound = denoiser.given(**here) if here else denoiser
            z = draws[rows].at("variance", number).normal_like(x0[rows])
            estimated = bound.estimate(bound.path.mix(x0[rows], z, level), level).noise
            total += float(estimator(estimated, z, level).double().sum())
        alpha, sigma = float(level.alpha), float(level.sigma)
        found[float(level.log_ratio)] = total / len(x0) * (alpha**2 + sigma**2) / alpha**2
    nodes = sorted(found)
    return VarianceTable(tuple(nodes), tuple(found[node] for node in nodes))


@dataclass(frozen=True)
class WithVariance(Wrapper):
    """A denoiser with a table of variances as Var[x_0 | x_t]: one number per level.

    `limit` bounds it: the published code uses 1 for data in [−1, 1] ((b − a)²/4 in general); none by default.
    """

    table: VarianceTable
    limit: float | None = None

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        inner = self.inner.estimate(x, level)
        return Estimate(x, level, inner.output, inner.reading, lambda: self._var(x, level))

    def _var(self, x: Tensor, level: Level) -> Tensor:
        var = self.table.var_per_sample(level, x)
        return var if self.limit is None else var.clamp(0.0, self.limit)


VarianceRule = Callable[[Level, Tensor], Tensor]
"""(level, v) -> Var[x_0 | x_t] from the network's output v, in [−1, 1] when it stays between the rule's bounds."""


@dataclass(frozen=True)
class BetaVariance:
    """log σ² between log β̃ (v = −1) and log β (v = 1) of a table's steps (Nichol & Dhariwal 2021), as Var[x_0 | x_t].

    σ² = β̃ + c²·Var with c the weight of x_0 in the posterior mean. At the first level β̃ is taken from the second.
    """

    table: Table
    _columns: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        levels = self.table.levels(torch.arange(len(self.table) + 1, dtype=torch.float64) / len(self.table))
        rows = []
        for below, level in itertools.pairwise(levels):
            _, weight, small = posterior_scales(below, level)
            rows.append((small, level.sigma**2 - (level.alpha * below.sigma / below.alpha) ** 2, weight))
        columns = torch.tensor(rows, dtype=torch.float64)
        floor = columns[min(1, len(columns) - 1), 0]
        small = torch.where(columns[:, 0] > 0, columns[:, 0], floor if floor > 0 else columns[:, 1])
        kept = torch.stack((torch.log(small), torch.log(columns[:, 1]), columns[:, 0], columns[:, 2]), 1)
        object.__setattr__(self, "_columns", kept)

    def __call__(self, level: Level, v: Tensor) -> Tensor:
        t = torch.as_tensor(level.t, dtype=torch.float64)
        k = torch.round(t * len(self.table)).long().clamp(1, len(self.table)) - 1
        columns = self._columns.to(k.device)[k].reshape(-1, 4).to(v)
        low, high, known, weight = (c.reshape(-1, *(1,) * (v.ndim - 1)) for c in columns.unbind(1))
        return (torch.exp(torch.lerp(low, high, (v + 1) / 2)) - known) / weight**2


@dataclass(frozen=True)
class PriorVariance:
    """Var[x_0 | x_t] = (v + 1)/2 · σ_d²σ²/(α²σ_d² + σ²), a share of that of Gaussian data; for paths without steps."""

    sigma_data: float = 1.0

    def __call__(self, level: Level, v: Tensor) -> Tensor:
        return (v + 1) / 2 * _gaussian_variance(self.sigma_data, level, v)


@dataclass(frozen=True)
class ScaledVariance:
    """Var[x_0 | x_t] = e^v · σ_d²σ²/(α²σ_d² + σ²): v = 0 is Gaussian data, where a network begins whose output is zero.

    Positive for every v, which descent along a bound needs, and without an upper end: between modes the variance of
    x_0 can be far above that of Gaussian data.
    """

    sigma_data: float = 1.0

    def __call__(self, level: Level, v: Tensor) -> Tensor:
        return torch.exp(v.clamp(-_FARTHEST, _FARTHEST)) * _gaussian_variance(self.sigma_data, level, v)


_FARTHEST = 20.0
"""|v| beyond which e^v is no variance of anything."""


def _gaussian_variance(sigma_data: float, level: Level, like: Tensor) -> Tensor:
    """σ_d²σ²/(α²σ_d² + σ²), of one level or one per sample, to broadcast with `like` (B, …)."""
    alpha, sigma = (torch.as_tensor(s, dtype=torch.float64) for s in (level.alpha, level.sigma))
    var = (sigma_data * sigma) ** 2 / ((alpha * sigma_data) ** 2 + sigma**2)
    return var.to(like).reshape(-1, *(1,) * (like.ndim - 1))


@dataclass(frozen=True)
class LearnedVariance(Denoiser):
    """A network with two outputs per channel: the first half is its prediction, the second, v, its variance."""

    base: NetworkDenoiser
    rule: VarianceRule

    @property
    def path(self) -> GaussianPath:  # type: ignore[override]
        return self.base.path

    @property
    def prediction(self) -> Prediction:
        return self.base.prediction

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        both = self.base.estimate(x, level)
        if both.output.shape[1] != 2 * x.shape[1]:
            raise UserError(
                f"a learned variance needs a network with {2 * x.shape[1]} output channels for {x.shape[1]} of the "
                f"data; this one gives {both.output.shape[1]}"
            )
        output, v = both.output.chunk(2, 1)
        full = v.to(torch.promote_types(v.dtype, torch.float32))  # in half precision e^v would be off by per cents
        return Estimate(x, level, output, both.reading, lambda: self.rule(level, full))

    def given(self, **conditions: object) -> LearnedVariance:
        return replace(self, base=self.base.given(**conditions))
