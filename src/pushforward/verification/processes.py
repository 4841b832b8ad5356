"""T14: forward SDEs, their marginals and closed forms, and the reverse SDE."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.integrate import solve_ivp

from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VE, VP, CosineVP, GaussianPath, Level, SubVP, Table, linear_betas
from pushforward.samplers import DDPM, EulerMaruyama, ReverseDiffusion, Step
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import affine, gaussian, largest, slope

SDES: tuple[GaussianPath, ...] = (VP(), SubVP(), VE(), EDM(), CosineVP(t_max=0.95))
BETA_PATH, MARUYAMA = VP(), EulerMaruyama()
TIMES = torch.tensor([0.01, 0.2, 0.5, 0.8, 0.94], dtype=torch.float64)
Coefficients = Callable[[GaussianPath, torch.Tensor], torch.Tensor]


def closed_forms(
    drift: Coefficients = GaussianPath.drift, square: Coefficients = GaussianPath.diffusion_squared
) -> float:
    """f and g² of VP, sub-VP and VE as printed by Song et al., relative."""
    t = TIMES.numpy()
    beta, integral = 0.1 + t * 19.9, 0.1 * t + 0.5 * t**2 * 19.9
    ratio = math.log(50 / 0.01)
    published = (
        (VP(), -beta / 2, beta),
        (SubVP(), -beta / 2, beta * (1 - np.exp(-2 * integral))),
        (VE(), 0 * t, (0.01 * (50 / 0.01) ** t) ** 2 * 2 * ratio),
    )
    error = 0.0
    for path, f, g2 in published:
        error = largest(error, (drift(path, TIMES).numpy() - f) / (1 + np.abs(f)), square(path, TIMES).numpy() / g2 - 1)
    return error


def marginals(drift: Coefficients = GaussianPath.drift, square: Coefficients = GaussianPath.diffusion_squared) -> float:
    """α and σ² by integrating dm = f m dt, dv = (2 f v + g²) dt with SciPy, on every path, relative."""
    error = 0.0
    for path in SDES:

        def rates(t: float, y: np.ndarray, path: GaussianPath = path) -> list[float]:
            time = torch.tensor(t, dtype=torch.float64)
            f, g2 = float(drift(path, time)), float(square(path, time))
            return [f * y[0], 2 * f * y[1] + g2]

        start, end = path.level(max(path.t_min, 1e-3)), path.level(path.t_max)
        solved = solve_ivp(rates, (start.t, end.t), [start.alpha, start.sigma**2], rtol=1e-9, atol=1e-12)
        error = largest(error, solved.y[0, -1] / end.alpha - 1, solved.y[1, -1] / end.sigma**2 - 1)
    return error


def simulated(path: GaussianPath = BETA_PATH, points: int = 20_000, steps: int = 500) -> Finding:
    """dx = f x dt + g dw from x_0 = 0.7 in small steps, at t = 0.5: mean and variance in standard errors."""
    draws = Draws.of(0, range(points), "sde")
    start, end = path.level(path.t_min), path.level(0.5)
    times = np.linspace(start.t, end.t, steps + 1)
    middle = torch.from_numpy((times[:-1] + times[1:]) / 2)
    f, g2, gap = path.drift(middle).numpy(), path.diffusion_squared(middle).numpy(), times[1] - times[0]
    x = start.alpha * 0.7 + start.sigma * draws.at("start").normal((), torch.float64).numpy()
    for i in range(steps):
        x = x * np.exp(f[i] * gap) + np.sqrt(g2[i] * gap) * draws.at(i).normal((), torch.float64).numpy()
    mean = (x.mean() - end.alpha * 0.7) / (end.sigma / math.sqrt(points))
    variance = (x.var(ddof=1) / end.sigma**2 - 1) / math.sqrt(2 / points)
    return Finding(largest(float(mean), float(variance)), f"{points} paths: mean {mean:+.1f}, variance {variance:+.1f}")


def discrete_agrees(table: Table | None = None) -> float:
    """DDPM's 1000 levels are the VP SDE with β from 0.1 to 20, to about 1/T: α and σ at the same times."""
    table = table or Table.of_betas(linear_betas())
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    alpha, sigma = VP().scales(t)
    return largest(table.alphas - alpha, table.sigmas - sigma)


def reverse_order(step: Step, path: GaussianPath, low: float = 0.05) -> Finding:
    """The final variance of the reverse SDE on Gaussian data against the exact one: error and order in the step."""
    end, start = path.level(low), path.level(path.t_max)
    denoiser = gaussian(path, 0.3, 0.25)
    exact = end.alpha**2 * 0.25 + end.sigma**2
    errors = []
    for count in (400, 800):
        levels = path.levels(torch.linspace(start.t, end.t, count + 1, dtype=torch.float64))
        first = 0.3 * start.alpha, start.alpha**2 * 0.25 + start.sigma**2
        errors.append(abs(affine(step, denoiser, levels, *first)[1] / exact - 1))
    order = slope(errors)
    return Finding(abs(order - 1) if errors[-1] < 0.05 else math.inf, f"order {order:.2f}, error {errors[-1]:.1e}")


def reverse_marginals(step: Step = MARUYAMA) -> float:
    """Mean and variance of the reverse SDE at four times on the way, 8000 steps, relative to the forward marginals."""
    path = VP()
    denoiser, error = gaussian(path, 0.3, 0.25), 0.0
    levels = path.levels(torch.linspace(1, 0.02, 4001, dtype=torch.float64))
    state = 0.3 * levels[0].alpha, levels[0].alpha ** 2 * 0.25 + levels[0].sigma ** 2
    for i in range(0, 4000, 1000):
        state = affine(step, denoiser, levels[i : i + 1001], *state)
        at: Level = levels[i + 1000]
        error = largest(error, state[1] / (at.alpha**2 * 0.25 + at.sigma**2) - 1, state[0] - 0.3 * at.alpha)
    return error


CHECKS = (
    Check(
        "f and g² of VP, sub-VP, VE", "T14", "derived from (α, σ) against the printed closed forms", 1e-9, closed_forms
    ),
    Check(
        "marginals of the forward SDE",
        "T14",
        "dm = f m, dv = 2 f v + g² integrated by SciPy against (α, σ²), five paths",
        1e-6,
        marginals,
    ),
    Check(
        "marginals of the forward SDE, simulated",
        "T14",
        "20,000 paths of VP at t = 0.5, in standard errors",
        4.0,
        simulated,
    ),
    Check(
        "DDPM is the VP SDE in 1000 steps", "T14", "(α, σ) of the table against those of the SDE", 2e-3, discrete_agrees
    ),
    Check(
        "reverse SDE has the forward marginals",
        "T14",
        "mean and variance on Gaussian data at four times",
        5e-3,
        reverse_marginals,
    ),
    Check(
        "reverse SDE: Euler–Maruyama, order 1",
        "T14",
        "final variance on Gaussian data against the exact one, VP",
        0.1,
        partial(reverse_order, EulerMaruyama(), VP()),
    ),
    Check(
        "reverse-diffusion predictor, order 1",
        "T15",
        "final variance on Gaussian data against the exact one, VP",
        0.1,
        partial(reverse_order, ReverseDiffusion(), VP()),
    ),
    Check(
        "ancestral predictor, order 1",
        "T15",
        "final variance on Gaussian data against the exact one, VE",
        0.1,
        partial(reverse_order, DDPM, VE(0.01, 5.0)),
    ),
)
