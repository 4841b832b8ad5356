"""T18, T19: DDIM and Analytic-DPM in closed form on Gaussian data."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import torch

from pushforward.denoisers import estimate_variances
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, VP, Level, UniformLogSNR
from pushforward.samplers import (
    DDIM,
    DDPM,
    Ancestral,
    analytic,
    cheapest_chain,
    encode,
    fixed_large,
    jump_costs,
    simulate,
    upwards,
)
from pushforward.samplers.ancestral import Interval
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import BAR, BETAS, BIMODAL, TABLE, affine, gaussian, largest

COUNTS = (5, 10, 25, 50, 100, 1000)
PUBLISHED = {
    "DDPM, β̃": (DDPM, (0.176, 0.417, 0.654, 0.786, 0.876, 0.985)),
    "DDPM, β": (Ancestral(1.0, fixed_large), (2.233, 1.434, 1.151, 1.072, 1.035, 1.003)),
    "DDIM": (DDIM, (0.203, 0.523, 0.789, 0.891, 0.944, 0.994)),
}
"""Final variance over the data's for s² = 1/4, by number of steps."""


def strided(count: int) -> tuple[Level, ...]:
    """1 + (T − 1) i/(K − 1), rounded, then clean data: the levels of the published table."""
    index = torch.round(torch.linspace(1000, 1, count, dtype=torch.float64))
    return (*TABLE.levels(index / 1000), CLEAN)


def ratios(step: Ancestral) -> list[float]:
    """Final variance over the data's, for each number of steps."""
    denoiser = gaussian(TABLE, 0.0, 0.25)
    return [affine(step, denoiser, strided(count), 0.0, 1.0)[1] / 0.25 for count in COUNTS]


def published(step: Ancestral, values: tuple[float, ...]) -> Finding:
    """The largest difference from the published row."""
    found = ratios(step)
    return Finding(largest(np.array(found) - values), ", ".join(f"{value:.3f}" for value in found))


def analytic_is_exact(eta: float = 1.0) -> Finding:
    """Analytic-DDPM or -DDIM at every number of steps: 0.9996, the deficit being the noiseless last step."""
    found = ratios(Ancestral(eta, analytic))
    return Finding(largest(np.array(found) - 0.9996), ", ".join(f"{value:.4f}" for value in found))


def ddpm_coefficients(step: Ancestral = DDPM) -> float:
    """η = 1: coefficients of x_t, of x_0 and of the noise against Algorithm 2's β, ᾱ and β̃, at every step."""
    levels = strided(1000)
    error = 0.0
    for k, move in zip(range(1000, 1, -1), step.plan(TABLE, levels), strict=False):
        assert isinstance(move, Interval)
        beta, bar, before = BETAS[k - 1], BAR[k - 1], BAR[k - 2]
        wanted = (
            np.sqrt(1 - beta) * (1 - before) / (1 - bar),
            np.sqrt(before) * beta / (1 - bar),
            np.sqrt(beta * (1 - before) / (1 - bar)),
        )
        error = largest(
            error, *(found / w - 1 for found, w in zip((move.state, move.mean, move.fresh), wanted, strict=True))
        )
    return error


def ddim_formula(eta: float = 0.6) -> float:
    """√ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z with σ as printed, on a mixture, for two grids."""
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    draws, error = Draws.of(0, range(5)), 0.0
    z = draws.normal_like(x)
    for high, low in ((1000, 900), (400, 3)):
        t, s = TABLE.levels([high / 1000, low / 1000])
        step = Ancestral(eta)
        (move,) = step.plan(TABLE, (t, s))
        moved, _ = step(BIMODAL.denoiser(TABLE), x, move, None, draws)
        truth = torch.from_numpy(BIMODAL.posterior(x[:, 0].numpy(), t).mean)[:, None]
        noise = (x - np.sqrt(BAR[high - 1]) * truth) / np.sqrt(1 - BAR[high - 1])
        sigma = eta * np.sqrt((1 - BAR[low - 1]) / (1 - BAR[high - 1])) * np.sqrt(1 - BAR[high - 1] / BAR[low - 1])
        wanted = np.sqrt(BAR[low - 1]) * truth + np.sqrt(1 - BAR[low - 1] - sigma**2) * noise + sigma * z
        error = largest(error, moved - wanted)
    return error


def inversion(step: Ancestral = DDIM) -> Finding:
    """Encode and decode again: the error of first order in the step."""
    path = VP()
    denoiser, x, errors = BIMODAL.denoiser(path), torch.linspace(-1.2, 1.2, 7, dtype=torch.float64)[:, None], []
    for count in (100, 200):
        levels = UniformLogSNR(to_clean=False)(path, count)
        latent = encode(denoiser, step, x, upwards(levels))
        errors.append(float((simulate(denoiser, step, latent, levels, Draws.of(0, range(7))) - x).abs().max()))
    order = float(np.log2(errors[0] / errors[1]))
    return Finding(abs(order - 1) if errors[1] < 0.1 else np.inf, f"order {order:.2f}, error {errors[1]:.1e}")


def gamma(samples: int = 20_000) -> Finding:
    """Γ = E‖ẑ‖²/d of Gaussian data estimated from samples, against σ²/(α²s² + σ²), in standard errors."""
    draws = Draws.of(1, range(samples), "gamma")
    x0 = 0.5 * draws.normal((1,), torch.float64)
    worst = 0.0
    for level in TABLE.levels([0.05, 0.3, 0.7]):
        table = estimate_variances(gaussian(TABLE, 0.0, 0.25), x0, [level], draws)
        exact = level.sigma**2 / (level.alpha**2 * 0.25 + level.sigma**2)
        # z² − ẑ² of two standard normals with correlation √Γ
        spread = np.sqrt(2 + 2 * exact**2 - 4 * exact * exact)
        worst = largest(worst, (table.gamma(level) - exact) / (spread / np.sqrt(samples)))
    return Finding(worst, f"{samples} samples, three levels")


def best_chain() -> float:
    """The trajectory found by dynamic programming against the best of all subsets of twelve levels."""
    levels = TABLE.levels([k / 1000 for k in (1, 20, 60, 120, 200, 300, 420, 540, 660, 780, 900, 1000)])
    exact = torch.tensor([v.sigma**2 / (v.alpha**2 * 0.25 + v.sigma**2) for v in levels], dtype=torch.float64)
    costs = jump_costs(levels, exact)
    error = 0.0
    for jumps in (2, 4, 7):
        chain = cheapest_chain(costs, jumps)
        every = ((0, *inner, 11) for inner in itertools.combinations(range(1, 11), jumps - 1))
        least = min(sum(float(costs[a, b]) for a, b in itertools.pairwise(c)) for c in every)
        error = largest(error, sum(float(costs[a, b]) for a, b in itertools.pairwise(chain)) - least)
    return error


CHECKS = (
    Check(
        "DDIM with η = 1 is DDPM",
        "T18",
        "coefficients of 999 steps against Algorithm 2's β, ᾱ, β̃",
        1e-8,
        ddpm_coefficients,
    ),
    Check("DDIM's step for η = 0.6", "T18", "against the printed formula with quadrature", 1e-6, ddim_formula),
    Check("DDIM encodes and decodes", "T18", "round trip on a mixture: order 1", 0.1, inversion),
    *(
        Check(
            f"{name}: final variance on Gaussian data",
            "T19" if name != "DDIM" else "T18",
            f"K = {', '.join(map(str, COUNTS))} against the published table",
            1e-3,
            partial(published, *row),
        )
        for name, row in PUBLISHED.items()
    ),
    Check(
        "Analytic-DDPM is exact at every K",
        "T19",
        "final variance on Gaussian data against 0.9996",
        1e-4,
        analytic_is_exact,
    ),
    Check(
        "Analytic-DDIM is exact at every K",
        "T19",
        "final variance on Gaussian data against 0.9996",
        1e-4,
        partial(analytic_is_exact, 0.0),
    ),
    Check(
        "Γ estimated from samples", "T19", "against its closed form on Gaussian data, in standard errors", 4.0, gamma
    ),
    Check(
        "the optimal trajectory", "T19", "dynamic programming against all subsets of twelve levels", 1e-12, best_chain
    ),
)
