"""T07, T10, T17: what is known of clean data given noisy data, and how networks are read as that."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    MixtureDenoiser,
    NoisePrediction,
    Prediction,
    ScorePrediction,
    VPrediction,
    log_noise,
)
from pushforward.denoisers.estimate import Estimate
from pushforward.numerics.random import Draws
from pushforward.objectives import denoising_error
from pushforward.paths import EDM, GaussianPath, Karras, Level
from pushforward.samplers import Heun, evaluations
from pushforward.verification.check import Check
from pushforward.verification.networks import untrained
from pushforward.verification.worlds import BIMODAL, PATHS, Line, largest

PREDICTIONS: tuple[Prediction, ...] = (
    NoisePrediction(0.7),
    DataPrediction(0.7),
    VPrediction(0.7),
    ScorePrediction(0.7),
    FlowPrediction(0.7),
    EDMPrediction(0.7),
)
EDM_HALF, KARRAS = EDMPrediction(0.5), Karras()
Oracle = Callable[[Line, GaussianPath], MixtureDenoiser]


def _places() -> list[tuple[GaussianPath, Level, np.ndarray]]:
    """Levels from little noise to much on every path, and states there."""
    found = []
    for path in PATHS:
        for share in (0.1, 0.4, 0.7):
            level = path.level(path.t_min + share * (path.t_max - path.t_min))
            spread = math.hypot(level.alpha, level.sigma)
            found.append((path, level, np.linspace(-2, 2, 9) * spread))
    return found


def _estimates(oracle: Oracle) -> list[tuple[Estimate, Tensor, np.ndarray, Level]]:
    found = []
    for path, level, x in _places():
        states = torch.from_numpy(x)[:, None]
        denoiser = oracle(BIMODAL, path)
        found.append((denoiser.estimate(states, level), denoiser.log_prob(states, level), x, level))
    return found


def posterior_mean(oracle: Oracle = Line.denoiser) -> float:
    """E[x_0 | x_t] and log p_t of a mixture, on every path."""
    error = 0.0
    for estimate, log_prob, x, level in _estimates(oracle):
        truth = BIMODAL.posterior(x, level)
        error = largest(error, estimate.mean[:, 0].numpy() - truth.mean, log_prob.numpy() - truth.log_prob)
    return error


def posterior_variance(oracle: Oracle = Line.denoiser) -> float:
    """Var[x_0 | x_t], relative."""
    error = 0.0
    for estimate, _, x, level in _estimates(oracle):
        found = torch.as_tensor(estimate.var)[:, 0].numpy()
        error = largest(error, found / BIMODAL.posterior(x, level).var - 1)
    return error


def tweedie(oracle: Oracle = Line.denoiser) -> float:
    """α E[x_0 | x_t] = x_t + σ² ∇ log p_t, the gradient by differences of a quadrature; and the score times σ."""
    error = 0.0
    for estimate, _, x, level in _estimates(oracle):
        h = 1e-4 * math.hypot(0.3 * level.alpha, level.sigma)
        score = (BIMODAL.posterior(x + h, level).log_prob - BIMODAL.posterior(x - h, level).log_prob) / (2 * h)
        pulled = level.alpha * estimate.mean[:, 0].numpy() - x
        error = largest(
            error,
            (pulled / level.sigma - level.sigma * score) / (1 + np.abs(level.sigma * score)),
            level.sigma * (estimate.score[:, 0].numpy() - score) / (1 + np.abs(level.sigma * score)),
        )
    return error


def invariant(predictions: tuple[Prediction, ...] = PREDICTIONS) -> float:
    """α·mean + σ·noise = x_t for any output of a network, relative to the size of what is added."""
    error, draws = 0.0, Draws.of(0, range(16), "invariant")
    x, output = (draws.at(name).normal((3,), torch.float64) for name in ("x", "f"))
    for _, level, _ in _places():
        state = x * math.hypot(level.alpha, level.sigma)
        for prediction in predictions:
            estimate = Estimate(state, level, output, prediction.reading(level))
            parts = level.alpha * estimate.mean, level.sigma * estimate.noise
            error = largest(error, (parts[0] + parts[1] - state) / (parts[0].abs() + parts[1].abs() + state.abs()))
    return error


def targets(predictions: tuple[Prediction, ...] = PREDICTIONS) -> float:
    """A network that gives its target F* = a x_0 + b z is read as (x_0, z)."""
    error, draws = 0.0, Draws.of(0, range(16), "targets")
    x0, z = (draws.at(name).normal((3,), torch.float64) for name in ("x0", "z"))
    for _, level, _ in _places():
        for prediction in predictions:
            x = level.alpha * x0 + level.sigma * z
            estimate = Estimate(x, level, prediction.target(x0, z, level), prediction.reading(level))
            scale = max(1.0, level.sigma / level.alpha), max(1.0, level.alpha / level.sigma)
            error = largest(error, (estimate.mean - x0) / scale[0], (estimate.noise - z) / scale[1])
    return error


def karras_coefficients(prediction: type[EDMPrediction] = EDMPrediction) -> float:
    """c_skip, c_out, c_in and c_noise of the paper, written out, at α = 1; and its weight of ‖D − x_0‖²."""
    error = 0.0
    for sigma in (0.002, 0.1, 0.5, 3.0, 80.0):
        level, data = EDM().level(sigma / 80), 0.5
        root = math.sqrt(sigma**2 + data**2)
        made = prediction(data)
        r = made.reading(level)
        weight = (sigma**2 + data**2) / (sigma * data) ** 2
        pairs = (
            (r.mean_x, data**2 / (sigma**2 + data**2)),
            (r.mean_f, sigma * data / root),
            (made.input_scale(level), 1 / root),
            (log_noise(level), math.log(sigma) / 4),
            (r.mean_f**2 * weight, 1.0),  # the loss of F itself weighs 1
        )
        error = largest(error, *(float(found) / wanted - 1 for found, wanted in pairs))
    return error


def loss_at_start(prediction: Prediction = EDM_HALF) -> float:
    """E‖F*‖² of data with deviation σ_d, exact by the four corners of x_0 and z, at every level of every path."""
    corners = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64)
    x0, z = 0.5 * corners[:, :1], corners[:, 1:]
    losses = [float(denoising_error(untrained(path, prediction), x0, z, level).mean()) for path, level, _ in _places()]
    return largest(*(loss - 1 for loss in losses))


def karras_grid(grid: Karras = KARRAS) -> float:
    """18 steps: σ_i as published, 35 evaluations of Heun."""
    ends, n = (80 ** (1 / 7), 0.002 ** (1 / 7)), 18
    wanted = [(ends[0] + i / (n - 1) * (ends[1] - ends[0])) ** 7 for i in range(n)]
    levels = grid(EDM(), n)
    found = [level.sigma for level in levels[:-1]]
    wrong = abs(evaluations(Heun(), EDM(), levels) - 35) + levels[-1].sigma
    return largest(np.array(found) / np.array(wanted) - 1, float(wrong))


CHECKS = (
    Check(
        "E[x_0 | x_t] and log p_t of a mixture",
        "T07",
        "closed form against quadrature, seven paths",
        1e-8,
        posterior_mean,
    ),
    Check(
        "Var[x_0 | x_t] of a mixture", "T07", "closed form against quadrature, seven paths", 1e-6, posterior_variance
    ),
    Check(
        "Tweedie: α E[x_0 | x_t] = x_t + σ² ∇ log p_t",
        "T10",
        "the exact denoiser against a differentiated quadrature",
        1e-6,
        tweedie,
    ),
    Check("α·mean + σ·noise = x_t", "T17", "six predictions on seven paths, random outputs", 1e-12, invariant),
    Check("the target of every prediction reads as (x_0, z)", "T17", "six predictions on seven paths", 1e-10, targets),
    Check(
        "EDM preconditioning",
        "T17",
        "c_skip, c_out, c_in, c_noise, weight against the published formulas",
        1e-12,
        karras_coefficients,
    ),
    Check(
        "EDM loss is 1 at every level where F = 0", "T17", "loss against 1, exact over x_0 and z", 1e-12, loss_at_start
    ),
    Check("EDM grid, ρ = 7, 18 steps", "T17", "σ_i against the published formula; 35 evaluations", 1e-9, karras_grid),
)
