"""T22: ridge, what it says read as a measurement, and draws from there, each against an independent truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pushforward.brain import Components, GaussianLaw, Measured, denoise_from, fit_ridge, gaussian_posterior
from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.denoisers.denoiser import Denoiser
from pushforward.metrics.identification import identify
from pushforward.numerics.random import Draws
from pushforward.paths import EDM
from pushforward.posterior import Question, SplitGibbs, infer
from pushforward.samplers import Sampler, default_sampler
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import Given, double, gaussian, largest

F64 = torch.float64


def _normals(purpose: str, *shape: int) -> np.ndarray:
    return Draws.of(0, [0], purpose).normal(shape, F64)[0].numpy()


def ridge(fit: Callable[..., Callable[[np.ndarray], np.ndarray]] = fit_ridge) -> float:
    """More voxels than trials: predictions against the normal equations, solved for each penalty."""
    x, y, new = _normals("voxels", 20, 35), _normals("targets", 20, 2), _normals("new", 4, 35)
    mean, scale = x.mean(0), x.std(0)
    z, worst = (x - mean) / scale, 0.0
    for penalty in (0.01, 1.0, 30.0):
        unit = np.trace(z @ z.T) / 20
        weights = np.linalg.solve(z.T @ z + penalty * unit * np.eye(35), z.T @ (y - y.mean(0)))
        expected = (new - mean) / scale @ weights + y.mean(0)
        worst = max(worst, largest(fit(x, y, np.arange(20), penalties=[penalty])(new) - expected))
    return worst


WORLD = GaussianLaw(_normals("prior mean", 3), np.diag([1.0, 0.5, 0.25]) + 0.1)
"""c ~ N(m, C), C correlated."""
SEEN = Measured(_normals("gain", 3, 3), _normals("offset", 3), np.diag([0.3, 0.2, 0.5]) + 0.05)


def closed_form(posterior: Callable[..., GaussianLaw] = gaussian_posterior) -> float:
    """The posterior by precisions against conditioning the joint normal law of c and ĉ by covariances."""
    said = _normals("said", 5, 3)
    found = posterior(WORLD, SEEN, said)
    mean, covariance = _conditioned(said)
    return largest(found.mean - mean, found.covariance - covariance)


def draws(noise: float = 1.0) -> Finding:
    """Draws given what ridge says beside the closed form: means and covariances in standard errors of the draws.

    `noise` multiplies the covariance of the measurement that the sampler is told.
    """
    count = 600
    mixture = Mixture.of_covariances(double(1.0), torch.tensor(WORLD.mean)[None], torch.tensor(WORLD.covariance)[None])
    components = Components(torch.zeros(3, dtype=F64), torch.eye(3, dtype=F64), (3,))
    said = _normals("said", 1, 3)
    told = Measured(SEEN.gain, SEEN.offset, noise * SEEN.covariance)
    question = Question(MixtureDenoiser(mixture, EDM()), told.likelihood(said, components), (3,), 1, dtype=F64)
    found = infer(SplitGibbs(inner=10, start=20), question, samples=count, evaluations=200).samples[:, 0].numpy()
    mean, covariance = _conditioned(said)
    white = np.linalg.solve(np.linalg.cholesky(covariance), (found - mean[0]).T)
    away = np.abs(white.mean(1)).max() * math.sqrt(count)
    spread = (np.cov(white) - np.eye(3)) / np.sqrt((1 + np.eye(3)) / count)
    return Finding(max(float(away), float(np.abs(spread).max())), f"{count} draws")


def _conditioned(said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cross = WORLD.covariance @ SEEN.gain.T
    weight = np.linalg.solve(SEEN.gain @ cross + SEEN.covariance, cross.T).T
    mean = WORLD.mean + (said - SEEN.offset - SEEN.gain @ WORLD.mean) @ weight.T
    return mean, WORLD.covariance - weight @ cross.T


Noised = Callable[[Denoiser, Tensor, Sampler, float, int, Draws], Tensor]


def noised(rule: Noised = denoise_from) -> float:
    """A guess noised and denoised in a Gaussian world N(m, s²): with k = s/√(α²s² + σ²), m + kα(g − m) + kσ·z."""
    m, s, guess = 0.4, 0.7, 2.0
    denoiser, worst = gaussian(EDM(), m, s**2), 0.0
    sampler, z = default_sampler(EDM(), 200, s), double(0.0, 1.0)[:, None]
    for strength in (0.2, 0.5):
        total = round(200 / strength)
        level = sampler.grid(denoiser.path, total)[total - 200]
        k = s / math.hypot(level.alpha * s, level.sigma)
        found = rule(denoiser, torch.full((2, 1), guess, dtype=F64), sampler, strength, 200, Given(z))
        expected = m + k * (level.alpha * (guess - m) + level.sigma * z)
        worst = max(worst, largest(found - expected))
    return worst


def identified(rule: Callable[..., object] = identify) -> float:
    """n-way identification against counting over every choice of the other items."""
    likeness, worst = _normals("likeness", 6, 6) + 0.8 * np.eye(6), 0.0
    for ways in (2, 3, 5):
        hits = [
            all(likeness[i, i] > likeness[i, j] for j in others)
            for i in range(6)
            for others in itertools.combinations([j for j in range(6) if j != i], ways - 1)
        ]
        share = rule(likeness, ways, shuffles=1).share  # type: ignore[attr-defined]
        worst = max(worst, abs(share - sum(hits) / len(hits)))
    return worst


CHECKS = (
    Check("ridge with many penalties at once", "T22", "the normal equations, solved for each", 1e-9, ridge),
    Check("posterior of a Gaussian world", "T22", "conditioning of the joint normal law", 1e-9, closed_form),
    Check("draws given what ridge says", "T22", "mean and covariance in closed form, in standard errors", 4.5, draws),
    Check("a guess noised and denoised", "T22", "the Gaussian's flow in closed form", 1e-4, noised),
    Check("n-way identification", "T22", "counting every choice of the others", 1e-12, identified),
)
