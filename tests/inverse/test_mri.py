"""Undersampled k-space with a prior that is right: every method is far above zero filling, and near the exact mean."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import (
    DDRM,
    MMPS,
    ChannelsAsComplex,
    Gaussian,
    Guidance,
    Method,
    ProjectedScore,
    condition,
    posterior_samples,
    sense,
    subsampled_fourier,
)
from pushforward.numerics.random import Draws
from pushforward.paths import EDM

F64 = torch.float64
SIZE, ITEMS, SAMPLES = 12, 4, 8
SHAPE = (2, SIZE, SIZE)


def prior() -> Mixture:
    """Two shapes with a phase each, and what is smooth within them: real and imaginary part as two channels."""
    at = (torch.arange(SIZE, dtype=F64) + 0.5) / SIZE * 2 - 1
    down, along = torch.meshgrid(at, at, indexing="ij")
    place = torch.stack((down, along), -1).reshape(-1, 2)
    smooth = torch.exp(-torch.cdist(place, place).square() / (2 * 0.25**2))
    means, covariances = [], []
    for turn, axes in ((0.4, (0.9, 0.5)), (2.0, (0.5, 0.9))):
        inside = torch.sigmoid(12 * (1 - (down / axes[0]) ** 2 - (along / axes[1]) ** 2)).flatten()
        means.append(torch.cat((math.cos(turn) * inside, math.sin(turn) * inside)))
        one = 0.15**2 * inside[:, None] * smooth * inside + 1e-4 * torch.eye(SIZE**2, dtype=F64)
        covariances.append(torch.block_diag(one, one))
    return Mixture.of_covariances(torch.full((2,), 0.5, dtype=F64), torch.stack(means), torch.stack(covariances))


def measured(coils: int, mixture: Mixture) -> Gaussian:
    """One line in three, by one coil or by several."""
    lines = (torch.arange(SIZE) % 6 == 0) | ((torch.arange(SIZE) - SIZE // 2).abs() < 2)
    mask = lines.expand(SIZE, SIZE)
    if coils == 1:
        operator = subsampled_fourier(mask, centred=True) @ ChannelsAsComplex()
    else:
        at = torch.linspace(-1, 1, SIZE, dtype=F64)
        loops = ((1.2, 0.0), (-1.2, 0.0), (0.0, 1.2))
        maps = torch.stack([torch.exp(-((at - a) ** 2 + (at[:, None] - b) ** 2) / 2) for a, b in loops]).to(
            torch.complex128
        )
        operator = sense(maps / maps.abs().square().sum(0).sqrt(), mask) @ ChannelsAsComplex()
    draws = Draws.of(1, range(ITEMS), "scan")
    return Gaussian.measure(operator, mixture.sample(draws).reshape(-1, *SHAPE), 0.03, draws)


def psnr(found: Tensor, truth: Tensor) -> float:
    return float(-10 * (found - truth).square().mean().log10())


@pytest.mark.parametrize(
    ("coils", "method", "evaluations"),
    [
        (1, DDRM(), 20),
        (1, Guidance(MMPS()), 20),
        (1, ProjectedScore(), 30),
        (3, Guidance(MMPS()), 12),
    ],
)
def test_scans_are_restored(coils: int, method: Method, evaluations: int):
    mixture = prior()
    seen, truth = measured(coils, mixture), mixture.sample(Draws.of(1, range(ITEMS), "scan")).reshape(-1, *SHAPE)
    draws = posterior_samples(
        method,
        MixtureDenoiser(mixture, EDM(0.005, 20.0)),
        seen,
        SHAPE,
        items=ITEMS,
        samples=SAMPLES,
        evaluations=evaluations,
        dtype=torch.float32,
    )
    exact = torch.stack([posterior.mean() for posterior in condition(mixture, seen, SHAPE)]).reshape(truth.shape)
    zero = seen.operator.adjoint(seen.y)
    assert psnr(draws.mean(0), truth) > psnr(exact, truth) - 3 > psnr(zero, truth) + 5
