"""Exact problems that the samplers are tested on: a Gaussian, a mixture, and the linear map that a step makes of x."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pushforward.denoisers import Denoiser, Mixture, MixtureDenoiser
from pushforward.numerics.random import Draws
from pushforward.paths import VP, GaussianPath, UniformLogSNR
from pushforward.samplers import Multistep, simulate
from pushforward.samplers.step import Step


def one_dimensional(weights: list[float], means: list[float], variances: list[float]) -> Mixture:
    double = [torch.tensor(v, dtype=torch.float64) for v in (weights, means, variances)]
    return Mixture.of_covariances(double[0], double[1][:, None], double[2])


def fixed_draws(batch: int, seed: int = 0) -> Draws:
    """The same randomness for every sample of the batch."""
    one = Draws.of(seed, [0], "test")
    return Draws(one.base.expand(batch), one.index.expand(batch))


@pytest.fixture
def gaussian() -> Callable[..., MixtureDenoiser]:
    """`gaussian(path, mean=0, variance=0.25)`: the exact denoiser of N(mean, variance) in one dimension."""

    def make(path: GaussianPath, mean: float = 0.0, variance: float = 0.25) -> MixtureDenoiser:
        return MixtureDenoiser(one_dimensional([1.0], [mean], [variance]), path)

    return make


@pytest.fixture
def bimodal() -> Callable[..., MixtureDenoiser]:
    def make(path: GaussianPath) -> MixtureDenoiser:
        return MixtureDenoiser(one_dimensional([0.4, 0.6], [0.7, -0.9], [0.25, 0.1]), path)

    return make


@pytest.fixture
def propagate() -> Callable[..., tuple[float, float]]:
    """(mean, variance) of the final state for data that makes every step affine in x, without sampling anything.

    Two states with the same noise show a step's slope, a third with other noise the deviation of what it adds.
    """

    def run(denoiser: Denoiser, step: Step, levels: tuple, mean: float, variance: float) -> tuple[float, float]:
        for i, move in enumerate(step.plan(denoiser.path, levels)):
            x = torch.tensor([[mean], [mean + 1.0]], dtype=torch.float64)
            draws = fixed_draws(2, seed=i)
            z = float(draws.normal((1,), torch.float64)[0])
            moved, _ = step(denoiser, x, move, None, draws)
            quiet, _ = step(denoiser, x, move, None, Silent(draws.base, draws.index))
            slope, fresh = float(moved[1] - moved[0]), float(moved[0] - quiet[0]) / z
            mean, variance = float(quiet[0]), slope**2 * variance + fresh**2
        return mean, variance

    return run


class Silent(Draws):
    """Draws that are all zero."""

    def normal_like(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


STARTS = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
_ENDS: dict[tuple, Tensor] = {}


def end_of_flow(denoiser: MixtureDenoiser) -> Tensor:
    """Where the exact flow takes STARTS at t_min."""
    name = (denoiser.path, tuple(denoiser.mixture.means.flatten().tolist()))
    if name not in _ENDS:
        levels = UniformLogSNR(to_clean=False)(denoiser.path, 1200)
        _ENDS[name] = simulate(denoiser, Multistep(4), STARTS, levels, Draws.of(0, range(9)))
    return _ENDS[name]


@pytest.fixture
def truth() -> Callable[[MixtureDenoiser], Tensor]:
    """`truth(denoiser)`: where the exact flow takes linspace(-2, 2, 9) at t_min."""
    return end_of_flow


@pytest.fixture
def orders() -> Callable[..., list[float]]:
    """Slopes of log₂ error against log₂ evaluations on the exact flow, log-SNR grid, down to t_min."""

    def measure(
        denoiser: MixtureDenoiser, step: Step, counts: tuple[int, ...], grid: object = None, per_step: int = 1
    ) -> list[float]:
        grid = grid or UniformLogSNR(to_clean=False)
        x, draws = STARTS, Draws.of(0, range(9))
        truth = end_of_flow(denoiser)
        errors = [
            float((simulate(denoiser, step, x, grid(denoiser.path, n // per_step), draws) - truth).abs().max())
            for n in counts
        ]
        return [math.log2(a / b) for a, b in itertools.pairwise(errors)]

    return measure


@pytest.fixture
def vp() -> VP:
    return VP()
