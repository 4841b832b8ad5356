"""Small worlds whose truth is computed here by NumPy and SciPy alone: nothing of it comes from the library."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtr
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.denoisers.denoiser import Denoiser
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, CosineVP, GaussianPath, Level, Straight, SubVP, Table, linear_betas
from pushforward.samplers.step import Step, simulate

BETAS = np.linspace(1e-4, 0.02, 1000)
"""The published linear schedule."""
BAR = np.cumprod(1 - BETAS)
TABLE = Table.of_betas(linear_betas())
PATHS: tuple[GaussianPath, ...] = (VP(), CosineVP(), SubVP(), VE(), EDM(), Straight(), TABLE)


def double(*values: float) -> Tensor:
    """A float64 vector."""
    return torch.tensor(values, dtype=torch.float64)


@dataclass(frozen=True)
class Line:
    """A Gaussian mixture on the line; integrals over x_0 are sums over a fine grid."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def density(self, x: np.ndarray) -> np.ndarray:
        """p(x_0)."""
        rows = zip(self.weights, self.means, self.deviations, strict=True)
        return sum(
            (w * np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi)) for w, m, s in rows), np.zeros(x.shape)
        )

    def posterior(self, x: np.ndarray, level: Level) -> Truth:
        """Everything that Bayes' rule says of x_0 given x_t = x: (N,)."""
        reach = 12 * max(self.deviations)
        grid = np.linspace(min(self.means) - reach, max(self.means) + reach, 16001)
        log = -0.5 * ((x[:, None] - level.alpha * grid) / level.sigma) ** 2
        top = log.max(1, keepdims=True)
        joint = np.exp(log - top) * self.density(grid)
        total = joint.sum(1)
        mean = joint @ grid / total
        var = joint @ grid**2 / total - mean**2
        width = (grid[1] - grid[0]) / (level.sigma * np.sqrt(2 * np.pi))
        return Truth(np.log(total * width) + top[:, 0], mean, var)

    def cdf(self, x: float, level: Level) -> float:
        """P(x_t < x) in closed form."""
        rows = zip(self.weights, self.means, self.deviations, strict=True)
        return float(sum(w * ndtr((x - level.alpha * m) / self._spread(level, s)) for w, m, s in rows))

    def carried(self, x: Sequence[float], start: Level, end: Level) -> np.ndarray:
        """Where the probability flow takes x: on the line, to the point of the same quantile."""

        def one(value: float) -> float:
            wanted = self.cdf(value, start)
            reach = 40 * (abs(end.alpha) * (max(map(abs, self.means)) + max(self.deviations)) + end.sigma)
            return float(brentq(lambda y: self.cdf(y, end) - wanted, -reach, reach, xtol=1e-15, rtol=1e-14))

        return np.array([one(float(value)) for value in x])

    @staticmethod
    def _spread(level: Level, deviation: float) -> float:
        return float(np.hypot(level.alpha * deviation, level.sigma))

    def denoiser(self, path: GaussianPath) -> MixtureDenoiser:
        """The library's exact denoiser of it."""
        return MixtureDenoiser(line_mixture(self), path)


@dataclass(frozen=True)
class Truth:
    """log p_t(x_t), E[x_0 | x_t] and Var[x_0 | x_t], each (N,)."""

    log_prob: np.ndarray
    mean: np.ndarray
    var: np.ndarray


def line_mixture(line: Line) -> Mixture:
    """The same as the library's Mixture in one dimension."""
    means = double(*line.means)[:, None]
    return Mixture.of_covariances(double(*line.weights), means, double(*line.deviations) ** 2)


BIMODAL = Line((0.4, 0.6), (0.7, -0.9), (0.5, 0.3))


def gaussian(path: GaussianPath, mean: float, variance: float, dim: int = 1) -> MixtureDenoiser:
    """The exact denoiser of N(mean, variance I)."""
    means = torch.full((1, dim), mean, dtype=torch.float64)
    return MixtureDenoiser(Mixture.of_covariances(double(1.0), means, double(variance)), path)


class Given(Draws):
    """Draws that are the numbers given, for every purpose: steps and objectives become functions of their noise."""

    def __new__(cls, values: Tensor) -> Given:
        return object.__new__(cls)

    def __init__(self, values: Tensor) -> None:
        keys = torch.arange(len(values))
        super().__init__(keys, keys)
        object.__setattr__(self, "values", values)

    def at(self, *parts: int | str) -> Given:
        return self

    def normal_like(self, x: Tensor) -> Tensor:
        values: Tensor = self.__dict__["values"]
        return values.to(x).expand_as(x)


class Impulses(Draws):
    """Draws for a batch of n + 2: in step i sample i + 2 alone has the noise 1, and no other has any.

    With the states 0, 1, 0, …, 0 they show all coefficients of a sampler that is affine in its state and its noise.
    """

    def __new__(cls, steps: int, step: int | None = None) -> Impulses:
        return object.__new__(cls)

    def __init__(self, steps: int, step: int | None = None) -> None:
        keys = torch.arange(steps + 2)
        super().__init__(keys, keys)
        object.__setattr__(self, "step", step)

    def at(self, *parts: int | str) -> Impulses:
        numbered = [part for part in parts if not isinstance(part, str)]
        return Impulses(len(self) - 2, int(numbered[0])) if numbered else self

    def normal_like(self, x: Tensor) -> Tensor:
        noise = torch.zeros_like(x)
        noise[self.__dict__["step"] + 2] = 1.0
        return noise


def moments(
    step: Step, denoiser: Denoiser, levels: Sequence[Level], mean: float, variance: float
) -> tuple[float, float]:
    """As `affine`, for steps that remember earlier ones."""
    count = len(levels) - 1
    x = torch.zeros(count + 2, 1, dtype=torch.float64)
    x[1] = 1.0
    end = simulate(denoiser, step, x, levels, Impulses(count))[:, 0]
    shift, others = float(end[0]), end[1:] - end[0]
    return shift + float(others[0]) * mean, float(others[0] ** 2 * variance + others[1:].square().sum())


def affine(
    step: Step, denoiser: Denoiser, levels: Sequence[Level], mean: float, variance: float
) -> tuple[float, float]:
    """(mean, variance) at the end, where the denoiser makes every step affine in the state and its noise.

    Read from three applications of each step (state 0, state 1, noise 1), for steps with one draw and no memory.
    """
    x, z = double(0.0, 1.0, 0.0)[:, None], double(0.0, 0.0, 1.0)[:, None]
    for move in step.plan(denoiser.path, levels):
        moved, _ = step(denoiser, x, move, None, Given(z))
        shift, slope, fresh = float(moved[0]), float(moved[1] - moved[0]), float(moved[2] - moved[0])
        mean, variance = shift + slope * mean, slope**2 * variance + fresh**2
    return mean, variance


def hermite(nodes: int, dim: int = 1) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite nodes (n^dim, dim) and weights (n^dim,) of a standard normal: exact for degrees below 2n."""
    points, mass = np.polynomial.hermite_e.hermegauss(nodes)
    mass = mass / mass.sum()
    grid = torch.tensor(list(itertools.product(points, repeat=dim)), dtype=torch.float64)
    weight = torch.tensor(list(itertools.product(mass, repeat=dim)), dtype=torch.float64).prod(1)
    return grid, weight


def slope(errors: Sequence[float], ratio: float = 2.0) -> float:
    """The order seen between the last two of errors at step counts that grow by `ratio`."""
    return float(np.log(errors[-2] / errors[-1]) / np.log(ratio))


def largest(*differences: Tensor | np.ndarray | float) -> float:
    """The largest absolute value; not a number where there is one."""
    return max(float(np.abs(np.asarray(d)).max()) if np.isfinite(np.asarray(d)).all() else np.inf for d in differences)
