"""T21: guidance on Gaussians, where the guided samples are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pushforward.denoisers import Guided, classifier_guided
from pushforward.numerics.random import Draws
from pushforward.paths import VP, Level, Straight, UniformLogSNR
from pushforward.samplers import Multistep, simulate
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import Line, double, gaussian, largest


def shifted(weight: float, variance: float = 0.3, mean: float = 1.5) -> Finding:
    """Unconditional N(0, v), conditional N(μ, v): guided samples of the flow are N(wμ, v)."""
    path = VP(t_min=1e-4)
    denoiser = Guided(gaussian(path, mean, variance), gaussian(path, 0.0, variance), weight)
    start = path.level(path.t_max)
    # the flow is affine in x: two starts, at the exact ends of one deviation, give mean and deviation
    spread = math.sqrt(start.alpha**2 * variance + start.sigma**2)
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * spread + weight * mean * start.alpha
    levels = UniformLogSNR(to_clean=False)(path, 400)
    ends = simulate(denoiser, Multistep(3), x, levels, Draws.of(0, range(2)))[:, 0]
    last = levels[-1]
    found, deviation = float(ends.mean()) / last.alpha, float(ends[1] - ends[0]) / 2
    exact = math.sqrt(last.alpha**2 * variance + last.sigma**2)
    return Finding(
        largest(found / (weight * mean) - 1, deviation / exact - 1), f"mean {found:.4f}, deviation {deviation:.4f}"
    )


def product(weight: float = 5.0) -> float:
    """At little noise the guided score of N(0, 1) and N(0, 1/4) is that of precision 4w + (1 − w) = 16."""
    path = VP(t_min=1e-6)
    x = double(-1.0, -0.5, 0.5, 1.0)[:, None]
    guided = Guided(gaussian(path, 0.0, 0.25), gaussian(path, 0.0, 1.0), weight)
    return largest(guided.estimate(x, path.level(1e-6)).score / (-16 * x) - 1)


PARTS = ((0.3, 0.8, 0.04), (0.7, -0.5, 0.3))
"""Weight, mean and variance of two classes."""


def class_log_prob(x: Tensor, level: Level) -> Tensor:
    """log p(first class | x_t), by Bayes' rule."""
    logs = []
    for weight, mean, variance in PARTS:
        var = level.alpha**2 * variance + level.sigma**2
        logs.append(math.log(weight / var**0.5) - 0.5 * (x[:, 0] - level.alpha * mean) ** 2 / var)
    return logs[0] - torch.logsumexp(torch.stack(logs), 0)


def classifier(log_prob: Callable[[Tensor, Level], Tensor] = class_log_prob) -> float:
    """The unconditional denoiser with ∇ log p(y | x_t) of the exact classifier is the conditional one."""
    weights, means, variances = zip(*PARTS, strict=True)
    line, error = Line(weights, means, tuple(v**0.5 for v in variances)), 0.0
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]
    for path in (VP(), Straight()):
        conditional = gaussian(path, means[0], variances[0])
        for level in path.levels([0.1, 0.5, 0.9]):
            found = classifier_guided(line.denoiser(path), log_prob).estimate(x, level)
            error = largest(error, found.mean - conditional.estimate(x, level).mean)
    return error


CHECKS = (
    *(
        Check(
            f"guidance with weight {w:g} shifts a Gaussian to wμ",
            "T21",
            "samples of the guided flow against N(wμ, σ²)",
            1e-4,
            partial(shifted, w),
        )
        for w in (2.0, 5.0)
    ),
    Check("guided score of unequal Gaussians", "T21", "at no noise against p_u^{1−w} p_c^w", 1e-3, product),
    Check(
        "classifier guidance is Bayes' rule",
        "T21",
        "unconditional + ∇ log p(y | x_t) against the conditional",
        1e-8,
        classifier,
    ),
)
