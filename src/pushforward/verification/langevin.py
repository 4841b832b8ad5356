"""T12, T13, T15: Langevin dynamics, the ladders of NCSN, and the corrector."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, DDIMStrided, Table, ncsn_ladder
from pushforward.paths.ncsn import ladder_levels, ladder_ratio, langevin_step, langevin_variance
from pushforward.samplers import AnnealedLangevin, FixedStep, Langevin, SignalToNoise, simulate
from pushforward.samplers.langevin import StepSize
from pushforward.samplers.step import Step
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import affine, double, gaussian, largest

PUBLISHED_RATIO = SignalToNoise(0.16)


def stationary_bias(delta: float, step: Step | None = None) -> Finding:
    """Variance where Langevin dynamics of N(0, σ² + s²) settles, s = σ, over the exact one: 1/(1 − δ/4)."""
    path = EDM()
    level = path.level(0.5 / 80)
    levels = (level,) * math.ceil(40 / delta)
    found = affine(step or Langevin(FixedStep(delta)), gaussian(path, 0.0, 0.25), levels, 0.0, 0.5)[1] / 0.5
    return Finding(found - 1 / (1 - delta / 4), f"δ = {delta:g}: {found:.4f}")


def simulated_bias(delta: float = 0.4, chains: int = 40_000) -> Finding:
    """The same seen in samples after 40 steps, against 1/(1 − δ/4), in standard errors."""
    path = EDM()
    level = path.level(0.5 / 80)
    draws = Draws.of(0, range(chains), "langevin")
    x, step = 0.5**0.5 * draws.at("start").normal((1,), torch.float64), Langevin(FixedStep(delta))
    denoiser = gaussian(path, 0.0, 0.25)
    for i, move in enumerate(step.plan(path, (level,) * 41)):
        x, _ = step(denoiser, x, move, None, draws.at(i))
    found = float(x.var()) / 0.5
    return Finding((found * (1 - delta / 4) - 1) / math.sqrt(2 / chains), f"δ = {delta:g}: {found:.4f}")


def corrector_step(size: StepSize = PUBLISHED_RATIO) -> float:
    """x + ε s + √(2ε) z with ε = 2(r‖z‖/‖s‖)², norms per sample, the score by automatic differentiation of log p_t."""
    path = EDM()
    level = path.level(1 / 80)
    mixture = Mixture.of_covariances(double(0.3, 0.7), double(0, 1, 2, -1).reshape(2, 2), double(0.04, 0.09))
    denoiser, draws = MixtureDenoiser(mixture, path), Draws.of(0, range(6), "corrector")
    x = draws.at("x").normal((2,), torch.float64).requires_grad_()
    score = torch.autograd.grad(_log_prob(mixture, x, level.sigma).sum(), x)[0]
    x = x.detach()
    (move,) = Langevin(size).plan(path, (level, level))
    moved, _ = Langevin(size)(denoiser, x, move, None, draws)
    z = draws.normal_like(x)
    epsilon = (2 * (0.16 * z.norm(dim=1) / score.norm(dim=1)) ** 2).clamp(max=level.sigma**2)[:, None]
    return largest(moved - (x + epsilon * score + (2 * epsilon).sqrt() * z))


def _log_prob(mixture: Mixture, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """log Σ_k w_k N(x; m_k, v_k + σ²) in two dimensions, written out."""
    var = mixture.floors + sigma**2
    square = ((x[:, None] - mixture.means) ** 2).sum(2)
    return torch.logsumexp(torch.log(mixture.weights) - torch.log(2 * math.pi * var) - 0.5 * square / var, 1)


LADDERS: dict[str, tuple[tuple[float, float, int], float, int, float]] = {
    "NCSNv2 on CIFAR-10": ((50.0, 0.01, 232), 6.2e-6, 5, 1.1283),
    "NCSN": ((1.0, 0.01, 10), 2e-5, 100, 1.1111),
}
"""(σ_1, σ_L, levels), ε, updates per level, and the last level's variance over σ_L²."""


def recursion(ladder: tuple[float, float, int], epsilon: float, repeats: int, published: float) -> Finding:
    """The last level's variance over σ_L² for data at one point: the sampler, the recursion and the published value."""
    sigmas = ncsn_ladder(*ladder)
    table = Table.of_sigmas(sigmas)
    levels = DDIMStrided(len(table))(table, len(table))
    variance = float(sigmas[-1]) ** 2
    for sigma in reversed(sigmas.tolist()):
        alpha = epsilon * (sigma / ladder[1]) ** 2
        for _ in range(repeats):
            variance = (1 - alpha / sigma**2) ** 2 * variance + 2 * alpha
    point = gaussian(table, 0.0, 0.0)
    step = Langevin(FixedStep(epsilon / ladder[1] ** 2))
    found = float(sigmas[-1]) ** 2
    for level in levels[:-1]:
        found = affine(step, point, (level,) * (repeats + 1), 0.0, found)[1]
    last = ladder[1] ** 2
    return Finding(largest(variance / last - published, (found / variance - 1)), f"{found / last:.4f}")


def denoised_point() -> float:
    """Annealed Langevin dynamics with the last denoising step ends exactly on data at one point."""
    table = Table.of_sigmas(ncsn_ladder(1.0, 0.01, 10))
    draws = Draws.of(0, range(50), "point")
    levels = DDIMStrided(10)(table, 10)
    x = simulate(
        gaussian(table, 0.3, 0.0), AnnealedLangevin(2e-5, 20), draws.normal((1,), torch.float64), levels, draws
    )
    return largest(x - 0.3)


STEPS = ((50.0, 232, 5, 6.18e-6), (90.0, 500, 5, 3.34e-6), (190.0, 1086, 3, 1.77e-6), (348.0, 2311, 3, 8.92e-7))
"""σ_1, levels, updates per level, and the best ε by the published rule (CIFAR-10, CelebA, bedroom, FFHQ)."""


def published_steps() -> Finding:
    """ε of NCSNv2's fourth technique, relative to the published minimisers (three digits)."""
    found = [langevin_step((largest_sigma / 0.01) ** (1 / (levels - 1)), t) for largest_sigma, levels, t, _ in STEPS]
    wanted = [row[3] for row in STEPS]
    return Finding(largest(np.array(found) / wanted - 1), ", ".join(f"{value:.3g}" for value in found))


def published_ladder() -> float:
    """γ of 3072 dimensions, 1.0398, and the 219 levels from 50 to 0.01 that it makes."""
    gamma = ladder_ratio(3072)
    return largest(gamma - 1.0398, float(abs(ladder_levels(50.0, 0.01, gamma) - 219)))


def technique_variance() -> float:
    """s_T²/σ_i² in closed form against its recursion, update by update."""
    error = 0.0
    for start, share, updates in ((1.08, 0.062, 5), (2.7, 0.2, 100), (4.0, 0.01, 7)):
        v = start
        for _ in range(updates):
            v = (1 - share) ** 2 * v + 2 * share
        error = largest(error, langevin_variance(start, share, updates) / v - 1)
    return error


def mode_weights(levels: int = 10, chains: int = 2000) -> Finding:
    """The share of chains in the mode of weight 0.8, ten deviations from the other, from a uniform start."""
    means = torch.tensor([[-5.0, -5.0], [5.0, 5.0]])
    mixture = Mixture.of_covariances(torch.tensor([0.2, 0.8]), means, torch.ones(2))
    sigmas = ncsn_ladder(10.0, 0.1, levels) if levels > 1 else torch.tensor([0.1])
    table, draws = Table.of_sigmas(sigmas), Draws.of(0, range(chains), "modes")
    start = 16 * (draws.at("start").uniform((2,)) - 0.5)
    grid = DDIMStrided(len(table))(table, len(table))
    x = simulate(MixtureDenoiser(mixture, table), AnnealedLangevin(0.1 * 0.1**2, 100), start, grid, draws)
    share = float((x.sum(1) > 0).double().mean())
    return Finding(share - 0.8, f"{share:.3f}; standard error {math.sqrt(0.16 / chains):.3f}")


def stuck() -> Finding:
    """The control: without annealing the share stays where it began, near one half."""
    found = mode_weights(levels=1)
    return Finding(0.0 if abs(found.error) > 0.2 else math.inf, f"off by {abs(found.error):.2f}")


CHECKS = (
    Check(
        "Langevin's stationary variance, δ = 0.1",
        "T15",
        "corrector run to its limit against 1/(1 − δ/4) = 1.026",
        1e-6,
        partial(stationary_bias, 0.1),
    ),
    Check(
        "Langevin's stationary variance, δ = 0.01",
        "T15",
        "corrector run to its limit against 1/(1 − δ/4) = 1.0025",
        1e-6,
        partial(stationary_bias, 0.01),
    ),
    Check(
        "Langevin's stationary variance, simulated",
        "T12",
        "40,000 chains against 1/(1 − δ/4), in standard errors",
        4.0,
        simulated_bias,
    ),
    Check(
        "the corrector's step", "T15", "2(r‖z‖/‖s‖)² with the score by automatic differentiation", 1e-9, corrector_step
    ),
    *(
        Check(
            f"{name}: variance at the last level",
            "T13",
            f"sampler and recursion against the published {row[-1]}",
            1e-4,
            partial(recursion, *row),
        )
        for name, row in LADDERS.items()
    ),
    Check("annealed Langevin ends on the data", "T13", "data at one point, after denoising", 1e-12, denoised_point),
    Check("the ladder of NCSNv2", "T13", "γ = 1.0398 and 219 levels for 3072 dimensions", 5e-5, published_ladder),
    Check(
        "the step of NCSNv2",
        "T13",
        "ε against the published minimisers for four data sets, relative",
        4e-3,
        published_steps,
    ),
    Check("variance after T updates", "T13", "closed form against the recursion", 1e-12, technique_variance),
    Check(
        "annealed Langevin finds the weights of far modes", "T13", "share in the mode of weight 0.8", 0.03, mode_weights
    ),
    Check("Langevin alone does not", "T12", "the same at one level is off by more than 0.2", 0.0, stuck),
)
