"""T06, T07, T09: the forward process, its posterior by Bayes' rule, and the two algorithms of DDPM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pushforward.numerics.broadcast import Scalar
from pushforward.numerics.random import Draws
from pushforward.objectives import denoising_error
from pushforward.paths import CLEAN, DDIMStrided, GaussianPath, Level, Table, linear_betas, posterior_scales
from pushforward.samplers import DDPM, Step, simulate
from pushforward.verification.check import Check, Finding
from pushforward.verification.networks import ExactOutput
from pushforward.verification.worlds import BAR, BETAS, BIMODAL, PATHS, TABLE, double, gaussian, largest

Posterior = Callable[[Level, Level], tuple[Scalar, Scalar, Scalar]]


def marginals(table: Table = TABLE) -> float:
    """Mean and variance of x_t after t steps x_t = √(1 − β_t) x_{t−1} + √β_t z, step by step."""
    mean, var = 1.0, 0.0
    means, deviations = [], []
    for beta in BETAS:
        mean, var = np.sqrt(1 - beta) * mean, (1 - beta) * var + beta
        means.append(mean)
        deviations.append(np.sqrt(var))
    return largest(table.alphas.numpy() - means, table.sigmas.numpy() - deviations)


def composition(paths: tuple[GaussianPath, ...] = PATHS) -> float:
    """The linear map of `advance` after that of `mix`, read off its arguments, against (α, σ) of the later time."""
    error = 0.0
    for path in paths:
        s, t = path.levels([path.t_min + f * (0.9 * path.t_max - path.t_min) for f in (0.2, 0.7)])
        unit = torch.eye(3, dtype=torch.float64)
        x0, z, fresh = (unit[:, i : i + 1] for i in range(3))
        a, b, c = path.advance(path.mix(x0, z, s), s, t, fresh)[:, 0].tolist()
        error = largest(error, a / t.alpha - 1, np.hypot(b, c) / t.sigma - 1)
    return error


def bayes(s: Level, t: Level, x0: float, x: float) -> tuple[float, float]:
    """Mean and variance of q(x_s | x_t = x, x_0) ∝ q(x_t | x_s) q(x_s | x_0), summed over a grid of x_s."""
    scale = t.alpha / s.alpha
    var = t.sigma**2 - (scale * s.sigma) ** 2
    grid = np.linspace(s.alpha * x0 - 12 * s.sigma, s.alpha * x0 + 12 * s.sigma, 200_001)
    log = -0.5 * ((grid - s.alpha * x0) / s.sigma) ** 2 - 0.5 * (x - scale * grid) ** 2 / var
    mass = np.exp(log - log.max())
    mass /= mass.sum()
    mean = mass @ grid
    return float(mean), float(mass @ (grid - mean) ** 2)


INTERVALS = ((0.0, 0.5), (0.3, 0.32), (0.5, 0.9))
"""Where posteriors are compared, as shares of a path's range."""


def posterior(rule: Posterior = posterior_scales) -> float:
    """Mean (absolute) and variance (relative), at three intervals of every path."""
    error = 0.0
    for path in PATHS:
        for low, high in INTERVALS:
            s, t = path.levels([path.t_min + f * 0.99 * (path.t_max - path.t_min) for f in (low, high)])
            x0, x = 0.4, 0.4 * t.alpha - 0.8 * t.sigma
            mean, var = bayes(s, t, x0, x)
            along_x, along_x0, found = map(float, rule(s, t))
            error = largest(error, (along_x * x + along_x0 * x0 - mean) / s.sigma, found / var - 1)
    return error


def reverse_is_gaussian(beta: float = 1e-4) -> Finding:
    """How far p(x_{t−1} | x_t) of a mixture is from N((x + β ∇log p)/√(1 − β), β), in total variation."""
    k, x = 300, 0.2
    before = Level(k / 1000, float(np.sqrt(BAR[k])), float(np.sqrt(1 - BAR[k])))
    bar = BAR[k] * (1 - beta)
    after = Level(0.0, float(np.sqrt(bar)), float(np.sqrt(1 - bar)))
    grid = np.linspace(x - 12 * beta**0.5, x + 12 * beta**0.5, 401)
    true = np.exp(BIMODAL.posterior(grid, before).log_prob - 0.5 * (x - (1 - beta) ** 0.5 * grid) ** 2 / beta)
    h = 1e-4
    low, high = BIMODAL.posterior(np.array([x - h, x + h]), after).log_prob
    mean = (x + beta * (high - low) / (2 * h)) / (1 - beta) ** 0.5
    claimed = np.exp(-0.5 * (grid - mean) ** 2 / beta)
    distance = 0.5 * float(np.abs(true / true.sum() - claimed / claimed.sum()).sum())
    return Finding(distance, f"β = {beta:g}")


def algorithm_1(deviation: float = 0.5) -> float:
    """E‖z − E[z | x_t]‖² of Gaussian data: the least simple loss, α²s²/(α²s² + σ²), by exact quadrature over x_0, z."""
    error = 0.0
    for t in (0.05, 0.3, 0.8):
        level = TABLE.level(t)
        net = ExactOutput(gaussian(TABLE, 0.0, 0.25))
        signal = (level.alpha * deviation) ** 2
        x0, z = double(-1, -1, 1, 1)[:, None] * deviation, double(-1, 1, -1, 1)[:, None]
        error = largest(error, float(denoising_error(net, x0, z, level).mean()) - signal / (signal + level.sigma**2))
    return error


def algorithm_2(sampler: Step = DDPM) -> float:
    """Ancestral sampling as printed, with all its noise, step by step in NumPy, from T = 1000 to clean data."""
    steps, points = 1000, 4
    denoiser, draws = BIMODAL.denoiser(TABLE), Draws.of(0, range(points))
    x = draws.at("prior").normal((1,), torch.float64)
    levels = DDIMStrided(steps)(TABLE, steps)
    ours = simulate(denoiser, sampler, x, levels, draws)
    by_hand = x.numpy()[:, 0].copy()
    for i, k in enumerate(range(steps - 1, -1, -1)):
        level = Level(0.0, float(np.sqrt(BAR[k])), float(np.sqrt(1 - BAR[k])))
        mean = BIMODAL.posterior(by_hand, level).mean
        noise = (by_hand - level.alpha * mean) / level.sigma
        by_hand = (by_hand - BETAS[k] / np.sqrt(1 - BAR[k]) * noise) / np.sqrt(1 - BETAS[k])
        if k:
            small = (1 - BAR[k - 1]) / (1 - BAR[k]) * BETAS[k]
            by_hand += np.sqrt(small) * draws.at(i).normal_like(x).numpy()[:, 0]
    return largest(ours.numpy()[:, 0] - by_hand)


def schedule(table: Table = TABLE) -> float:
    """ᾱ_T of the published schedule, 4.036e-5, and β read back from the table."""
    return largest(float(table.alphas[-1] ** 2) / 4.036e-5 - 1, (table.betas - linear_betas()) / linear_betas())


def clean_end() -> float:
    """A noiseless posterior is x_0 itself."""
    return largest(*(np.array(posterior_scales(CLEAN, path.level(0.5))) - [0, 1, 0] for path in PATHS))


CHECKS = (
    Check("q(x_t | x_0) = N(√ᾱ_t x_0, 1 − ᾱ_t)", "T06", "the table against T single steps", 1e-12, marginals),
    Check(
        "q(x_t | x_s) after q(x_s | x_0)", "T06", "every path's advance against its own marginals", 1e-12, composition
    ),
    Check("schedule of β, linear", "T06", "ᾱ_T against the published 4.036e-5; β read back", 2e-4, schedule),
    Check(
        "mean and variance of q(x_s | x_t, x_0)",
        "T07",
        "closed form against quadrature of Bayes' rule",
        1e-8,
        posterior,
    ),
    Check("q(x_0 | x_t, x_0) is x_0", "T07", "the step into σ = 0 against its limit", 1e-12, clean_end),
    Check(
        "p(x_{t−1} | x_t) is Gaussian for small β",
        "T07",
        "total variation to the Gaussian of the Taylor argument, by quadrature",
        1e-3,
        reverse_is_gaussian,
    ),
    Check(
        "the simple loss of Algorithm 1",
        "T09",
        "at the exact noise, against its closed form on Gaussian data",
        1e-12,
        algorithm_1,
    ),
    Check(
        "Algorithm 2, all 1000 steps", "T09", "the sampler against the printed lines with quadrature", 1e-6, algorithm_2
    ),
)
