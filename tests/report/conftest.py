"""Generators whose denoiser is exact: kernel estimates of the training data, so that quality is known beforehand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pushforward.data.dataset import Dataset
from pushforward.data.sources import load
from pushforward.denoisers import DataPrediction
from pushforward.models.denoising import generator_of
from pushforward.models.diffusion import Diffusion
from pushforward.models.generator import Generator
from pushforward.paths import EDM
from pushforward.paths.times import LogNormalTimes, Stratified

SIGMA_DATA = 0.5


class KernelNetwork(nn.Module):
    """E[x_0 | x_t, label] for training items blurred by a Gaussian of deviation `width`: 0 repeats them exactly."""

    def __init__(self, points: Tensor, labels: Tensor | None, width: float, conditional: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))  # what tells the device
        self.register_buffer("points", points.flatten(1))
        self.labels, self.width, self.conditional, self.calls = labels, width, conditional, 0

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        self.calls += 1
        sigma = (4 * time.double()).exp()[:, None]
        points = self.get_buffer("points").double()
        state = x.flatten(1).double() * (SIGMA_DATA**2 + sigma**2).sqrt()
        spread = sigma**2 + self.width**2
        logits = -0.5 * (torch.cdist(state, points) ** 2) / spread
        if label is not None and self.labels is not None:
            known = (label[:, None] == self.labels[None, :]) | (label == self.labels.max() + 1)[:, None]
            logits = logits.masked_fill(~known, -torch.inf)
        centre = logits.softmax(1) @ points
        mean = centre + self.width**2 / spread * (state - centre)
        return (self.scale * mean).reshape(x.shape).to(x.dtype)


def kernel_generator(data: Dataset, width: float, conditional: bool = True, label_dropout: float = 0.1) -> Generator:
    batch = data.train.all()
    classes = (data.num_classes or 0) if conditional else 0
    network = KernelNetwork(batch.values, batch.labels, width, bool(classes))
    model = Diffusion(
        network,
        EDM(),
        DataPrediction(SIGMA_DATA),
        Stratified(LogNormalTimes(sigma_data=SIGMA_DATA)),
        data.shape,
        classes,
        label_dropout,
    )
    return generator_of(model, data.format)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def smooth(digits) -> Generator:
    """A good model of digits: its samples are training digits with a little noise."""
    return kernel_generator(digits, 0.2)
