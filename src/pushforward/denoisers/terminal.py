"""The law of the noise end, N(α m, α² C + σ² I), matched to the first two moments m, C of the data.

N(0, σ_max² I) in its place is off by 3e-3 nats on data of unit size at σ_max = 80; what is left here is the third
moment, of relative size (α/σ)³.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.paths.gaussian import Level


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the data in model units, float64.

    mean (*shape); covariance full (D, D) for vectors that are D long when flattened, or per coordinate (*shape).
    """

    mean: Tensor
    variances: Tensor
    axes: Tensor | None = None

    @staticmethod
    def of(mean: Tensor, covariance: Tensor) -> Moments:
        """From a mean (*shape) and a covariance, full (D, D) or variances (*shape). Raises UserError otherwise."""
        mean, covariance = mean.detach().double(), covariance.detach().double()
        d = mean.numel()
        if covariance.shape == mean.shape:
            values, axes = covariance.reshape(d), None
        elif covariance.shape == (d, d):
            values, axes = torch.linalg.eigh(covariance)
        else:
            raise UserError(
                f"for a mean of shape {tuple(mean.shape)} the covariance is {(d, d)}, or {tuple(mean.shape)} per "
                f"coordinate; got {tuple(covariance.shape)}"
            )
        if not bool((values >= -1e-10 * values.abs().max()).all()):  # False for nan
            raise UserError("the covariance of the data has a negative or undefined variance")
        return Moments(mean, values.clamp(min=0), axes)

    @staticmethod
    def of_samples(x: Tensor, *, full: bool = False) -> Moments:
        """The moments of data (N, …): per coordinate, or with the full covariance (needs N > 1)."""
        if len(x) < 2:
            raise UserError(f"moments need at least two samples; got {len(x)}")
        x = x.detach().double()
        return Moments.of(x.mean(0), torch.cov(x.flatten(1).T).reshape(x[0].numel(), -1) if full else x.var(0))

    @property
    def scale(self) -> float:
        """σ_data: the root mean variance per coordinate."""
        return math.sqrt(float(self.variances.mean()))

    def to(self, device: torch.device) -> Moments:
        axes = None if self.axes is None else self.axes.to(device)
        return Moments(self.mean.to(device), self.variances.to(device), axes)

    def _spreads(self, level: Level) -> Tensor:
        return torch.sqrt(level.alpha**2 * self.variances + level.sigma**2)

    def _check(self, x: Tensor) -> None:
        if x.shape[1:] != self.mean.shape:
            raise UserError(
                f"samples of shape {tuple(x.shape[1:])} were given, and the moments are those of data of shape "
                f"{tuple(self.mean.shape)}"
            )

    def whiten(self, x: Tensor, level: Level) -> Tensor:
        """x_t at this level as a standard normal, in the axes of the data: float64 (B, …)."""
        self._check(x)
        centred = (x.double() - level.alpha * self.mean).flatten(1)
        along = centred if self.axes is None else centred @ self.axes
        white = along / self._spreads(level)
        return (white if self.axes is None else white @ self.axes.T).reshape(x.shape)

    def colour(self, z: Tensor, level: Level) -> Tensor:
        """The inverse of `whiten`: float64 (B, …)."""
        self._check(z)
        along = z.double().flatten(1) if self.axes is None else z.double().flatten(1) @ self.axes
        spread = along * self._spreads(level)
        centred = spread if self.axes is None else spread @ self.axes.T
        return centred.reshape(z.shape) + level.alpha * self.mean

    def log_prob(self, x: Tensor, level: Level) -> Tensor:
        """log N(x; α m, α² C + σ² I) in nats: float64 (B,)."""
        square = sum_per_sample(self.whiten(x, level) ** 2)
        d = self.variances.numel()
        return -0.5 * (square + d * math.log(2 * math.pi)) - torch.log(self._spreads(level)).sum()
