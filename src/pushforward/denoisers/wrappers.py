"""Denoisers that change another one's estimate of x_0: clipping, dynamic thresholding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True)
class Wrapper(Denoiser):
    """A denoiser on the path of the one that it holds; conditions are bound to that one."""

    inner: Denoiser

    @property
    def path(self) -> GaussianPath:  # type: ignore[override]
        return self.inner.path

    def given(self, **conditions: object) -> Self:
        return replace(self, inner=self.inner.given(**conditions))


@dataclass(frozen=True)
class Clipped(Wrapper):
    """E[x_0 | x_t] kept in [low, high]; the noise follows, so that the estimate stays consistent (Ho et al. 2020).

    The ends are numbers, or tensors that broadcast with one item: a range for each column.
    """

    low: Scalar = -1.0
    high: Scalar = 1.0

    def __post_init__(self) -> None:
        if not bool((torch.as_tensor(self.low) < torch.as_tensor(self.high)).all()):
            raise UserError(f"clipping needs low < high; got {self.low} and {self.high}")

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        inner = self.inner.estimate(x, level)
        low, high = (torch.as_tensor(v).to(x) for v in (self.low, self.high))
        return Estimate.of_mean(x, level, inner.mean.clamp(low, high), lambda: inner.var)


@dataclass(frozen=True)
class DynamicThreshold(Wrapper):
    """E[x_0 | x_t] clipped at its own quantile and scaled back into [low, high] (Saharia et al. 2022).

    s = max(1, q-quantile of |u| of the sample), u ← clip(u, −s, s)/s in units where the range is [−1, 1].
    """

    quantile: float = 0.995
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1 or not self.low < self.high:
            raise UserError(
                f"dynamic thresholding needs a quantile in (0, 1] and low < high; got {self.quantile}, {self.low}, "
                f"{self.high}"
            )

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        inner = self.inner.estimate(x, level)
        centre, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        unit = (inner.mean - centre) / half
        size = unit.abs().flatten(1)
        rank = max(1, math.ceil(self.quantile * size.shape[1]))
        bound = expand(torch.kthvalue(size, rank, dim=1).values.clamp(min=1.0), unit)
        mean = (
            centre + half * torch.minimum(torch.maximum(unit, -torch.as_tensor(bound)), torch.as_tensor(bound)) / bound
        )
        return Estimate.of_mean(x, level, mean, lambda: inner.var)


def clipped(denoiser: Denoiser, low: Scalar = -1.0, high: Scalar = 1.0) -> Clipped:
    """The denoiser with E[x_0 | x_t] kept in [low, high]."""
    return Clipped(denoiser, low, high)


def dynamically_thresholded(
    denoiser: Denoiser, quantile: float = 0.995, low: float = -1.0, high: float = 1.0
) -> DynamicThreshold:
    """The denoiser with E[x_0 | x_t] clipped at its own quantile."""
    return DynamicThreshold(denoiser, quantile, low, high)
