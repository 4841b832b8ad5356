"""Predictions: how a network's output F is read as an Estimate, and the target F* that the same scalars imply.

With D = α²σ_d² + σ² (the variance of x_t) the input is scaled by c_in = 1/√D everywhere, and for each prediction

| prediction | F* | mean = c_skip x + c_out F |
|---|---|---|
| ε | z | (x − σF)/α |
| x_0 | x_0 | F |
| v (Salimans & Ho 2022) | (αz − σx_0)/√(α² + σ²) | αx/(α² + σ²) − σF/√(α² + σ²) |
| score, times σ | −z | (x + σF)/α |
| flow (Lipman et al. 2023) | z − x_0 | (x − σF)/(α + σ) |
| EDM (Karras et al. 2022) | (σx_0/σ_d − ασ_d z)/√D | ασ_d²x/D + σσ_d F/√D |

One loss, w(t)‖F − F*‖², is every denoising loss of the field; the targets are written without 0/0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.estimate import Reading, mean_reading, noise_reading
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.paths.gaussian import Level


@dataclass(frozen=True)
class Prediction(ABC):
    """What a network predicts. σ_data, the data's standard deviation in model units, scales its input."""

    sigma_data: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma_data) and self.sigma_data > 0):
            raise UserError(f"sigma_data must be a positive number; got {self.sigma_data}")

    def input_scale(self, level: Level) -> Scalar:
        """c_in = 1/√(α²σ_d² + σ²): the network sees unit variance at every level."""
        return 1 / ((level.alpha * self.sigma_data) ** 2 + level.sigma**2) ** 0.5

    @abstractmethod
    def reading(self, level: Level) -> Reading:
        """The scalars that read F as an Estimate. Raises UserError where that is impossible."""

    @abstractmethod
    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        """(a, b) of the target F* = a x_0 + b z."""

    def target(self, x0: Tensor, z: Tensor, level: Level) -> Tensor:
        """F* = a x_0 + b z: (B, …)."""
        a, b = self.target_scales(level)
        return expand(a, x0) * x0 + expand(b, z) * z


@dataclass(frozen=True)
class NoisePrediction(Prediction):
    """ε: F* = z (Ho et al. 2020)."""

    def reading(self, level: Level) -> Reading:
        return noise_reading(level)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        return 0.0, 1.0


@dataclass(frozen=True)
class ScorePrediction(Prediction):
    """The score times σ: F* = −z."""

    def reading(self, level: Level) -> Reading:
        r = noise_reading(level)
        return Reading(r.mean_x, -r.mean_f, 0.0, -1.0)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        return 0.0, -1.0


@dataclass(frozen=True)
class DataPrediction(Prediction):
    """x_0: F* = x_0."""

    def reading(self, level: Level) -> Reading:
        return mean_reading(level)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        return 1.0, 0.0


@dataclass(frozen=True)
class VPrediction(Prediction):
    """v = (αz − σx_0)/√(α² + σ²) (Salimans & Ho 2022; the radius is 1 on variance-preserving paths)."""

    def reading(self, level: Level) -> Reading:
        square = level.alpha**2 + level.sigma**2
        radius = square**0.5
        return Reading(level.alpha / square, -level.sigma / radius, level.sigma / square, level.alpha / radius)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        radius = (level.alpha**2 + level.sigma**2) ** 0.5
        return -level.sigma / radius, level.alpha / radius


@dataclass(frozen=True)
class FlowPrediction(Prediction):
    """The velocity of the straight path, F* = z − x_0 (Lipman et al. 2023), read on any path."""

    def reading(self, level: Level) -> Reading:
        total = level.alpha + level.sigma
        return Reading(1 / total, -level.sigma / total, 1 / total, level.alpha / total)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        return -1.0, 1.0


@dataclass(frozen=True)
class EDMPrediction(Prediction):
    """Unit-variance target at every level (Karras et al. 2022), carried to any path through x/α and σ/α."""

    def reading(self, level: Level) -> Reading:
        alpha, sigma, data = level.alpha, level.sigma, self.sigma_data
        square = (alpha * data) ** 2 + sigma**2
        root = square**0.5
        return Reading(alpha * data**2 / square, sigma * data / root, sigma / square, -alpha * data / root)

    def target_scales(self, level: Level) -> tuple[Scalar, Scalar]:
        alpha, sigma, data = level.alpha, level.sigma, self.sigma_data
        root = ((alpha * data) ** 2 + sigma**2) ** 0.5
        return sigma / (data * root), -alpha * data / root


def log_noise(level: Level) -> Scalar:
    """c_noise = ¼ log(σ/α), the time that networks of this library are given; finite at both ends (|4c| ≤ 20)."""
    ratio = level.log_ratio
    if isinstance(ratio, Tensor):
        return -0.25 * torch.clamp(ratio, -20.0, 20.0)
    return -0.25 * min(max(ratio, -20.0), 20.0)


@dataclass(frozen=True)
class TableIndex:
    """c_noise = k − 1 for level k of a table with T levels: the index that published DDPM networks are given."""

    T: int = 1000

    def __call__(self, level: Level) -> Scalar:
        return level.t * self.T - 1.0
