"""The misprints of the tutorial: what is printed fails against quadrature, and the right formula does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from pushforward.paths import VE, Level, posterior_scales
from pushforward.verification.check import Check, Finding
from pushforward.verification.forward import bayes
from pushforward.verification.worlds import BAR, BETAS, BIMODAL

K = 600
"""The step of the published schedule on which formulas are compared."""
BETA, ALPHA = float(BETAS[K]), float(1 - BETAS[K])
NOW, BEFORE = (Level(0.0, math.sqrt(bar), math.sqrt(1 - bar)) for bar in (float(BAR[K]), float(BAR[K - 1])))
X0, X = 0.4, -0.3


class Formula(NamedTuple):
    """What the formula gives, what is printed, and the truth, by quadrature."""

    right: float
    printed: float
    truth: float


def compared(formula: Callable[[], Formula], tolerance: float = 1e-6) -> Finding:
    """The relative error of the right formula; infinite where the printed one is as good."""
    right, printed, truth = formula()
    misprint = abs(printed - truth) / abs(truth)
    error = abs(right - truth) / abs(truth)
    return Finding(error if misprint > 100 * tolerance else math.inf, f"as printed: off by {misprint:.1e}")


def forward_kernel() -> Formula:
    """The normalisation of q(x_t | x_{t−1}), integrated over x_t."""
    grid = np.linspace(-12, 12, 100_001) * math.sqrt(BETA)
    width = grid[1] - grid[0]
    right = float(np.exp(-(grid**2) / (2 * BETA)).sum() * width / math.sqrt(2 * math.pi * BETA))
    printed = float(np.exp(np.minimum(grid**2 / (2 * BETA**2), 600)).sum() * width / (math.sqrt(2 * math.pi) * BETA))
    return Formula(right, printed, 1.0)


def taylor() -> Formula:
    """log q(x_{t−1} = x − δ) − log q(x) to first order: −δ ∇ log q, here with δ = 1e-5 against the plain sign."""
    delta, h = 1e-5, 1e-4
    values = BIMODAL.posterior(np.array([X - delta, X, X - h, X + h]), NOW).log_prob
    gradient = float(values[3] - values[2]) / (2 * h)
    return Formula(-delta * gradient, delta * gradient, float(values[0] - values[1]))


def first_exponent() -> Formula:
    """The mean of q(x_{t−1} | x_t, x_0) from the two exponents, with √α_t and with √ᾱ_t in the first."""

    def mean(scale: float) -> float:
        precision = scale**2 / BETA + 1 / BEFORE.sigma**2
        return (scale * X / BETA + BEFORE.alpha * X0 / BEFORE.sigma**2) / precision

    return Formula(mean(math.sqrt(ALPHA)), mean(NOW.alpha), bayes(BEFORE, NOW, X0, X)[0])


def cross_terms() -> Formula:
    """Its variance 1/(α_t/β_t + 1/(1 − ᾱ_{t−1})), with α_t and with ᾱ_t."""
    return Formula(
        1 / (ALPHA / BETA + 1 / BEFORE.sigma**2),
        1 / (NOW.alpha**2 / BETA + 1 / BEFORE.sigma**2),
        bayes(BEFORE, NOW, X0, X)[1],
    )


def mean_from_noise() -> Formula:
    """The mean from x_t and its noise, (x_t − β/√(1 − ᾱ_t) z)/√α_t."""
    noise = (X - NOW.alpha * X0) / NOW.sigma
    inner = X - BETA / NOW.sigma * noise
    return Formula(inner / math.sqrt(ALPHA), inner / NOW.alpha, bayes(BEFORE, NOW, X0, X)[0])


def loss_weight() -> Formula:
    """The weight of |z − ẑ|² in L_{t−1}: KL of two posteriors, of clean data and of its estimate, over |z − ẑ|²."""
    off, sd = 0.3, math.sqrt(bayes(BEFORE, NOW, X0, X)[1])
    noise = (X - NOW.alpha * X0) / NOW.sigma
    estimate = (X - NOW.sigma * (noise + off)) / NOW.alpha
    one, other = bayes(BEFORE, NOW, X0, X)[0], bayes(BEFORE, NOW, estimate, X)[0]
    grid = one + sd * np.linspace(-12, 12, 20_001)
    mass = np.exp(-0.5 * ((grid - one) / sd) ** 2)
    kl = float(mass / mass.sum() @ (0.5 * ((grid - other) / sd) ** 2 - 0.5 * ((grid - one) / sd) ** 2))
    bar = NOW.sigma**2
    return Formula(BETA**2 / (2 * sd**2 * ALPHA * bar), (1 - ALPHA) ** 2 / (2 * ALPHA * bar), kl / off**2)


def last_page() -> Formula:
    """σ̂_{t−1} is the root of (1 − ᾱ_{t−1})/(1 − ᾱ_t) β_t; the library's posterior against quadrature."""
    small = posterior_scales(BEFORE, NOW)[2]
    return Formula(math.sqrt(float(small)), float(small), math.sqrt(bayes(BEFORE, NOW, X0, X)[1]))


def bound_is_not_equality() -> Formula:
    """E_q log(q(x_1 | x_0)/p(x_0, x_1)) of a Gaussian pair exceeds −log p(x_0) by KL(q(x_1 | x_0) ‖ p(x_1 | x_0))."""
    var, x0, guess = 0.5, 0.8, 0.3  # p: x_1 ~ N(0, 1), x_0 | x_1 ~ N(x_1, var); q: N(guess, 1/4)
    grid = np.linspace(-8, 8, 40_001)
    width = grid[1] - grid[0]

    def normal(x: np.ndarray | float, mean: np.ndarray | float, v: float) -> np.ndarray:
        return np.asarray(-0.5 * (x - mean) ** 2 / v - 0.5 * math.log(2 * math.pi * v))

    q, joint = normal(grid, guess, 0.25), normal(grid, 0.0, 1.0) + normal(x0, grid, var)
    bound = float(np.exp(q) @ (q - joint) * width)
    evidence = -math.log(float(np.exp(joint).sum() * width))
    true_var, true_mean = var / (1 + var), x0 / (1 + var)
    kl = 0.5 * (0.25 / true_var + (guess - true_mean) ** 2 / true_var - 1 - math.log(0.25 / true_var))
    return Formula(evidence + kl, evidence, bound)


def score_forward() -> Formula:
    """Var x_i of the NCSN ladder: x_{i−1} is the mean of its step, whose variance is σ_i² − σ_{i−1}²."""
    path = VE()
    low, high = path.levels([0.4, 0.5])
    step = high.sigma**2 - low.sigma**2
    grid = np.linspace(-1, 1, 40_001) * 10 * high.sigma
    # the law of x_i, as the mixture of its steps over x_{i−1} of variance σ_{i−1}²
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    law = sum(m * np.exp(-0.5 * (grid - low.sigma * n) ** 2 / step) for n, m in zip(nodes, mass, strict=True))
    found = float((law @ grid**2) / law.sum())
    return Formula(high.sigma**2, step, found)


def last_level() -> Formula:
    """The variance of x_N of VE for data of deviation 1/2, against the prior that one starts from: σ_N², not 1."""
    path = VE()
    end = path.level(path.t_max)
    nodes, mass = np.polynomial.hermite_e.hermegauss(20)
    variance = float(mass @ (0.5 * nodes) ** 2 / mass.sum()) + end.sigma**2
    return Formula(end.sigma**2, 1.0, variance)


ROWS: tuple[tuple[str, str, Callable[[], Formula], float], ...] = (
    ("forward kernel: exp(−‖·‖²/2β), (2πβ)^(−d/2)", "T07", forward_kernel, 1e-6),
    ("Taylor term: (x_{t−1} − x_t)ᵀ ∇ log q(x_t)", "T07", taylor, 1e-3),
    ("posterior, first exponent: √α_t", "T07", first_exponent, 1e-6),
    ("posterior, cross terms: α_t", "T07", cross_terms, 1e-6),
    ("posterior mean: 1/√α_t", "T08", mean_from_noise, 1e-6),
    ("weight of the noise loss: β²/(2σ̂²α_t(1 − ᾱ_t))", "T08", loss_weight, 1e-6),
    ("(1 − ᾱ_{t−1})/(1 − ᾱ_t) β_t is σ̂², not σ̂", "T08", last_page, 1e-6),
    ("L = −log p + KL, a bound of −log p", "T05", bound_is_not_equality, 1e-6),
    ("NCSN forward step: N(x_i; x_{i−1}, σ_i² − σ_{i−1}²)", "T13", score_forward, 1e-6),
    ("x_N of VE is N(x_0, σ_N²), not N(0, 1)", "T14", last_level, 2e-4),
)
CHECKS = tuple(
    Check(
        f"misprint: {name}",
        tutorial,
        "right formula against quadrature; the printed one disagrees",
        tolerance,
        partial(compared, formula, tolerance),
    )
    for name, tutorial, formula, tolerance in ROWS
)
