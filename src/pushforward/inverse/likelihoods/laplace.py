"""Noise with heavy tails: y = h(x) + Laplace."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Measurement
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws


@dataclass(frozen=True, eq=False)
class Laplace(Measurement):
    """p(y | x) = Π exp(−|y − h(x)| / b) / (2 b), b = `scale`: robust to outliers. Its deviation is √2 b."""

    scale: float

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise UserError(f"the scale of Laplace noise is a number above 0; got {self.scale}")
        super().__post_init__()
        if self.y.is_complex():
            raise UserError("Laplace noise is of real measurements, and a complex one was given: use Gaussian")

    def log_prob(self, x: Tensor) -> Tensor:
        residual = self.residual(x)
        count = self.count().to(residual.device, residual.dtype)
        return -sum_per_sample(residual.abs()) / self.scale - count * math.log(2 * self.scale)

    def gradient(self, x: Tensor) -> Tensor:
        """Jᵀ sign(y − h(x)) / b."""
        return self.operator.vjp(x, self.residual(x).sign() / self.scale)

    def simulate(self, x: Tensor, draws: Draws) -> Tensor:
        clean = self.operator(x)
        u = draws.at("measurement").uniform(clean.shape[1:], torch.float64) - 0.5
        noise = -self.scale * u.sign() * torch.log1p(-2 * u.abs())
        return clean + self.operator.measured(noise.to(clean.device, clean.dtype))

    def slack(self) -> float:
        return math.sqrt(2) * self.scale
