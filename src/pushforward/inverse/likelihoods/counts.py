"""Photon counts: y ~ Poisson."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import pdtr, pdtrik
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Measurement
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws

_LEAST = 1e-9
"""The rate, in counts, at which derivatives are taken where h(x) says less."""


@dataclass(frozen=True, eq=False)
class Poisson(Measurement):
    """gain · y ~ Poisson(gain · h(x)): y in the units of h(x), `gain` the counts per unit.

    Where h(x) < 0, or h(x) = 0 and something was counted, the likelihood is 0. Raises UserError for negative
    measurements and for those that are no whole numbers of counts.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise UserError(f"the gain of a Poisson measurement is above 0; got {self.gain}")
        super().__post_init__()
        if self.y.is_complex() or bool((self.y < 0).any()):
            raise UserError("a Poisson measurement counts: real numbers of at least 0 were expected")
        counts = self.y.double() * self.gain
        away = (counts - counts.round()).abs()
        if bool((away > 1e-3 + 1e-6 * counts).any()):
            raise UserError(
                f"a Poisson measurement counts: gain · y must be whole numbers, one is off by {float(away.max()):.1g}: "
                f"is the gain, {self.gain}, that of the detector?"
            )

    def log_prob(self, x: Tensor) -> Tensor:
        predicted = self.operator(x)
        rate, counts = self.gain * predicted, (self.gain * self.given(predicted)).round()
        terms = torch.xlogy(counts, rate.clamp(min=0)) - rate - torch.lgamma(counts + 1)
        return sum_per_sample(self.operator.measured(torch.where(rate < 0, -torch.inf, terms)))

    def gradient(self, x: Tensor) -> Tensor:
        """Jᵀ gain (counts / rate − 1), the rate taken as at least 1e-9."""
        predicted = self.operator(x)
        counts = (self.gain * self.given(predicted)).round()
        slope = self.gain * (counts / (self.gain * predicted).clamp(min=_LEAST) - 1)
        return self.operator.vjp(x, self.operator.measured(slope))

    def simulate(self, x: Tensor, draws: Draws) -> Tensor:
        clean = self.operator(x)
        if bool((clean < 0).any()):
            raise UserError("a Poisson measurement needs rates of at least 0: the operator gives less for these items")
        uniforms = draws.at("measurement").uniform(clean.shape[1:], torch.float64)
        counts = poisson_quantiles(uniforms.cpu().numpy(), (self.gain * clean.detach()).double().cpu().numpy())
        return self.operator.measured(torch.from_numpy(counts).to(clean.device, clean.dtype) / self.gain)

    def slack(self) -> float:
        return float((self.y.double().mean() / self.gain).sqrt())


def poisson_quantiles(u: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """The smallest k with P(K ≤ k) ≥ u for K ~ Poisson(rate)."""
    k = np.ceil(pdtrik(u, np.maximum(rate, 1e-300)))
    k = np.where(rate > 0, np.maximum(np.nan_to_num(k), 0), 0)
    less = np.maximum(k - 1, 0)
    return np.where(pdtr(less, rate) >= u, less, k)
