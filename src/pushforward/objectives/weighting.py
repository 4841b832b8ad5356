"""Weightings w(t) of |F − F*|²: which quantity's squared error a denoising loss is, whatever the network predicts.

The error of a·mean + b·noise is (a·m_F + b·n_F)(F − F*) for the prediction's reading, so every published weighting is
a function of the level and the prediction. On a path where α reaches 0, weightings of the mean need a prediction that
is read there (x_0, v, flow, EDM).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward.denoisers.precondition import EDMPrediction, Prediction, log_noise
from pushforward.errors import UserError
from pushforward.networks.embedding import FourierTime
from pushforward.numerics.broadcast import Scalar, batch_of
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.times import QuantileLaw, UniformTimes

_UNIFORM = UniformTimes()

Weighting = Callable[[Level, Prediction], Scalar]
"""(level, prediction) -> the weight of |F − F*|², one number or one per sample."""


def output_weighting(level: Level, prediction: Prediction) -> Scalar:
    """1: the squared error of the network's own output. For EDM prediction this is the EDM loss."""
    return 1.0


def noise_weighting(level: Level, prediction: Prediction) -> Scalar:
    """|ẑ − z|²: the simple loss of Ho et al. (2020), and σ²|s − s*|² of Song et al. (2021)."""
    return prediction.reading(level).noise_f ** 2


def data_weighting(level: Level, prediction: Prediction) -> Scalar:
    """|x̂_0 − x_0|²."""
    return prediction.reading(level).mean_f ** 2


def velocity_weighting(level: Level, prediction: Prediction) -> Scalar:
    """|v̂ − v|² with v = (αz − σx_0)/√(α² + σ²) (Salimans & Ho 2022): SNR + 1 times the error of x_0."""
    r = prediction.reading(level)
    return (level.alpha * r.noise_f - level.sigma * r.mean_f) ** 2 / (level.alpha**2 + level.sigma**2)


@dataclass(frozen=True)
class EDMWeighting:
    """The error of F of EDM: (σ² + σ_d²)/(σσ_d)² times that of x_0 for α = 1 (Karras et al. 2022)."""

    sigma_data: float = 0.5

    def __call__(self, level: Level, prediction: Prediction) -> Scalar:
        r = prediction.reading(level)
        a, b = EDMPrediction(self.sigma_data).target_scales(level)
        return (a * r.mean_f + b * r.noise_f) ** 2


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, γ)·|x̂_0 − x_0|² (Hang et al. 2023); min(1, γ/SNR)·|ẑ − z|² is the same."""

    gamma: float = 5.0

    def __call__(self, level: Level, prediction: Prediction) -> Scalar:
        r = prediction.reading(level)
        if isinstance(level.alpha, Tensor) or isinstance(level.sigma, Tensor):
            alpha, sigma = torch.as_tensor(level.alpha), torch.as_tensor(level.sigma)
            small = alpha**2 <= self.gamma * sigma**2
            return torch.where(small, noise_weighting(level, prediction), self.gamma * torch.as_tensor(r.mean_f) ** 2)
        small_snr = level.alpha**2 <= self.gamma * level.sigma**2
        return r.noise_f**2 if small_snr else self.gamma * r.mean_f**2


@dataclass(frozen=True)
class P2:
    """|ẑ − z|²/(k + SNR)^γ (Choi et al. 2022)."""

    k: float = 1.0
    gamma: float = 1.0

    def __call__(self, level: Level, prediction: Prediction) -> Scalar:
        return noise_weighting(level, prediction) / (self.k + (level.alpha / level.sigma) ** 2) ** self.gamma


@dataclass(frozen=True)
class LikelihoodWeighting:
    """g²(t)|s − s*|² = −(d SNR/dt)|x̂_0 − x_0|²: half its integral over t bounds −log p (Song et al. 2021).

    Written as 2α(ασ′ − α′σ)/σ³, which is finite where α = 0.
    """

    path: GaussianPath

    def __call__(self, level: Level, prediction: Prediction) -> Scalar:
        t = torch.as_tensor(level.t, dtype=torch.float64)
        alpha_rate, sigma_rate = self.path.rates(t)
        alpha, sigma = self.path.scales(t)
        fall = 2 * alpha * (alpha * sigma_rate - alpha_rate * sigma) / sigma**3
        weight = fall * torch.as_tensor(prediction.reading(level).mean_f) ** 2
        return weight if weight.ndim else float(weight)


class LearnedUncertainty(nn.Module):
    """u(t), one number per level, learned beside the network so that every level weighs the same (Karras et al. 2024).

    Zero at the start; not needed after training.
    """

    def __init__(self, features: int = 128) -> None:
        super().__init__()
        self.fourier = FourierTime(features)
        self.linear = nn.Linear(self.fourier.features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, level: Level) -> Tensor:
        time = log_noise(level)
        size = len(time) if isinstance(time, Tensor) and time.ndim else 1
        return self.linear(self.fourier(batch_of(time, size, self.linear.weight.device)))[:, 0]


def normalised(
    weighting: Weighting,
    path: GaussianPath,
    prediction: Prediction,
    law: QuantileLaw = _UNIFORM,
    points: int = 1000,
) -> Weighting:
    """The weighting divided by its mean over the law's times, so that learning rates carry over between weightings."""
    t = law.quantile(path, (torch.arange(points, dtype=torch.float64) + 0.5) / points)
    mean = float(torch.as_tensor(weighting(path.level(t), prediction), dtype=torch.float64).mean())
    if not (math.isfinite(mean) and mean > 0):
        raise UserError(f"the weighting has the mean {mean} over this path's times, so it cannot be normalised")
    return lambda level, prediction: weighting(level, prediction) / mean
