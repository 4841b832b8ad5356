"""Networks whose output is known, read as trained ones are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.denoisers import Denoiser, NetworkDenoiser, NoisePrediction, Prediction
from pushforward.denoisers.estimate import Estimate
from pushforward.paths import GaussianPath, Level


class Zero(nn.Module):
    """F = 0: a network at initialisation."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return torch.zeros_like(x)


def untrained(path: GaussianPath, prediction: Prediction) -> NetworkDenoiser:
    """A denoiser whose network gives 0."""
    return NetworkDenoiser(path, Zero(), prediction)


class ExactOutput(Denoiser):
    """A denoiser as a network that predicts the noise, without error."""

    prediction = NoisePrediction()

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.path = inner, inner.path

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        return Estimate.of_noise(x, level, self.inner.estimate(x, level).noise)
