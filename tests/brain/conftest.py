"""A Gaussian world of pictures and voxels, in which everything that decoding should find is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from pushforward.brain import Prior, Recording, Trials
from pushforward.data.format import Format
from pushforward.data.pixels import Layout, Pixels
from pushforward.denoisers import DataPrediction, Mixture, MixtureDenoiser
from pushforward.models.denoising import DiffusionGenerator
from pushforward.models.family import Denoising
from pushforward.paths import VP

SIDE = 4
LOW, HIGH = -4.0, 4.0


class Known(Denoising):
    """The exact denoiser of a mixture as a model."""

    def __init__(self, mixture: Mixture, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.network, self.path, self.prediction = nn.Linear(1, 1), VP(), DataPrediction(0.3)
        self.mixture = mixture

    def denoiser(self):
        return MixtureDenoiser(self.mixture, self.path)

    def objectives(self):
        return {}

    def loss(self, objective, batch, draws):
        raise NotImplementedError

    def draw(self, draws, labels=None):
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class World:
    """x ~ N(m, C) in model units (16 pixels); voxels = B x + noise of deviation `noise`."""

    mean: np.ndarray
    covariance: np.ndarray
    encoding: np.ndarray
    noise: float
    prior: Prior

    def items(self, count: int, seed: int) -> np.ndarray:
        root = np.linalg.cholesky(self.covariance)
        x = self.mean + np.random.default_rng(seed).normal(size=(count, SIDE * SIDE)) @ root.T
        return (x * (HIGH - LOW) / 2).reshape(count, SIDE, SIDE)

    def voxels(self, items: np.ndarray, seed: int) -> np.ndarray:
        x = items.reshape(len(items), -1) / ((HIGH - LOW) / 2)
        rng = np.random.default_rng(seed)
        return x @ self.encoding.T + self.noise * rng.normal(size=(len(items), len(self.encoding)))

    def recording(self, train: int, test: int) -> Recording:
        a, b = self.items(train, 1), self.items(test, 2)
        return Recording(Trials(self.voxels(a, 3), a), Trials(self.voxels(b, 4), b))


@pytest.fixture(scope="session")
def world() -> World:
    rng = np.random.default_rng(0)
    dim = SIDE * SIDE
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    covariance = axes @ np.diag(0.16 * 0.6 ** np.arange(dim) + 1e-3) @ axes.T
    mean = 0.1 * rng.normal(size=dim)
    encoding = rng.normal(size=(40, dim))
    form = Format(Pixels((1, SIDE, SIDE), Layout.PLANE, "float64", LOW, HIGH, False))
    mixture = Mixture.of_covariances(
        torch.ones(1, dtype=torch.float64), torch.tensor(mean)[None], torch.tensor(covariance)[None]
    )
    prior = Prior.of(DiffusionGenerator(Known(mixture, (1, SIDE, SIDE)), form))
    return World(mean, covariance, encoding, 0.5, prior)
