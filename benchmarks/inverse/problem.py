"""Problems whose posterior is known: a Gaussian mixture fitted to the digits, four linear measurements with noise.

Pairs (x*, y) are drawn from the mixture and the measurement, so that prior and posterior are exact and all error is the
method's. The posterior of a mixture is a mixture (`pushforward.inverse.condition`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.inverse import Gaussian, LinearOperator, Mask, Matrix, condition, gaussian_kernel, separable_blur
from pushforward.numerics.random import Draws
from pushforward.paths import EDM

SHAPE = (1, 8, 8)
PATH = EDM(sigma_min=0.005, sigma_max=20.0)


@cache
def prior() -> Mixture:
    """Ten full Gaussians on the first 1 500 digits in [-1, 1]; variance 0.29 per pixel."""
    x = load_digits().data[:1500] / 8 - 1
    fit = GaussianMixture(10, reg_covar=1e-2, random_state=0).fit(x)
    return Mixture.of_covariances(*(torch.from_numpy(v) for v in (fit.weights_, fit.means_, fit.covariances_)))


@cache
def denoiser() -> MixtureDenoiser:
    return MixtureDenoiser(prior(), PATH)


def half_hidden() -> LinearOperator:
    order = torch.argsort(Draws.of(1, [0], "mask").uniform((64,))[0])
    return Mask((order < 32).reshape(8, 8))


def blur() -> LinearOperator:
    line = gaussian_kernel(5, 1.0, torch.float64).sum(0)
    return separable_blur(line, line, (8, 8))


def projections() -> LinearOperator:
    return Matrix(Draws.of(2, [0], "projections").normal((16, 64), torch.float64)[0] / 8, SHAPE)


OPERATORS = {
    "inpainting, σ 0.1": (half_hidden, 0.1),
    "blur, σ 0.1": (blur, 0.1),
    "16 projections, σ 0.1": (projections, 0.1),
    "inpainting, σ 0.5": (half_hidden, 0.5),
}


@dataclass(frozen=True)
class Problem:
    """Truths (M, 1, 8, 8), what was measured of them, their exact posteriors with moments and draws."""

    name: str
    truth: Tensor
    likelihood: Gaussian
    mean: Tensor  # (M, 64)
    spread: Tensor  # √tr C of each posterior, (M,)
    reference: Tensor  # many exact draws, (R, M, 64)
    exact: Tensor  # as many exact draws as a method gives, several times: (T, S, M, 64)

    @staticmethod
    def of(name: str, pairs: int, samples: int, references: int = 2000, times: int = 6) -> Problem:
        make, sigma = OPERATORS[name]
        draws = Draws.of(3, range(pairs), name)
        truth = prior().sample(draws).reshape(-1, *SHAPE)
        likelihood = Gaussian.measure(make(), truth, sigma, draws)
        posteriors = condition(prior(), likelihood, SHAPE)
        count = references + times * samples
        drawn = torch.stack([p.sample(Draws.of(i, range(count), "exact")) for i, p in enumerate(posteriors)], 1)
        return Problem(
            name,
            truth,
            likelihood,
            torch.stack([p.mean() for p in posteriors]),
            torch.stack([p.covariance().trace() for p in posteriors]).sqrt(),
            drawn[:references],
            drawn[references:].unflatten(0, (times, samples)),
        )


@dataclass(frozen=True)
class Score:
    """How far draws are from the exact posterior, averaged over the pairs.

    `error`: ‖mean − exact mean‖/√tr C, about 1/√S for exact draws. `distance`: sliced Wasserstein distance above that
    of exact draws, in posterior deviations per pixel. `variance`: tr of the draws' covariance over tr C. `coverage`: of
    the true pixels by the central 90 % of the draws. `chi2`: of the draws, (‖y − A x‖/σ)²/m.
    """

    error: float
    distance: float
    variance: float
    coverage: float
    chi2: float


def score(problem: Problem, draws: Tensor) -> Score:
    """`draws`: (S, M, 1, 8, 8) float64."""
    flat = draws.flatten(2)
    distance, floor = _sliced(flat, problem), torch.stack([_sliced(x, problem) for x in problem.exact]).mean()
    low, high = (torch.quantile(flat, q, 0) for q in (0.05, 0.95))
    truth = problem.truth.flatten(1)
    chi2 = torch.stack([problem.likelihood.chi2(x) for x in draws])
    return Score(
        float(((flat.mean(0) - problem.mean).norm(dim=1) / problem.spread).mean()),
        math.sqrt(max(float(distance - floor), 0.0)),
        float((flat.var(0).sum(1) / problem.spread**2).mean()),
        float(((truth >= low) & (truth <= high)).double().mean()),
        float(chi2.mean()),
    )


def _sliced(draws: Tensor, problem: Problem, slices: int = 64) -> Tensor:
    """Mean over pairs and directions of the squared Wasserstein distance to the reference, over tr C/d."""
    directions = Draws.of(4, [0], "slices").normal((64, slices), torch.float64)[0]
    directions = directions / directions.norm(dim=0)
    one = (draws @ directions).sort(0).values
    other = (problem.reference @ directions).sort(0).values
    levels = (torch.arange(len(one), dtype=torch.float64) + 0.5) / len(one)
    quantiles = torch.quantile(other, levels, 0)
    return ((one - quantiles).square().mean(0).mean(1) * 64 / problem.spread**2).mean()
