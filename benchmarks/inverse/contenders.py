"""What real pictures are restored by: baselines that need no network, and methods by name with their evaluations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from baselines import least_squares, mixture_mean, total_variation
from restored import Problem
from torch import Tensor

from pushforward.denoisers import Mixture
from pushforward.inverse import (
    CCDF,
    DDRM,
    MMPS,
    Gaussian,
    Mask,
    Measured,
    Method,
    PiGDM,
    ProjectedScore,
    Radon,
    RePaint,
    Ridge,
    filtered_back_projection,
    hann,
)
from pushforward.inverse.method import Guidance

SMALL = 16
"""Sides of pictures that are small enough for RePaint."""
WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)
STOPS = (3, 6, 12, 25, 50)
Baseline = Callable[[Gaussian, Tensor], Tensor]


def tuned(problem: Problem, make: Callable[[Gaussian, Tensor, float], Tensor], choices: tuple[float, ...]) -> Baseline:
    """The baseline with the setting that is best for training pictures."""
    likelihood, start = problem.measure(problem.tuning, "tuning"), torch.zeros_like(problem.tuning)
    errors = [float((make(likelihood, start, c) - problem.tuning).square().mean()) for c in choices]
    best = choices[errors.index(min(errors))]
    return lambda given, like: make(given, torch.zeros_like(like), best)


def back_projection(measured: Measured) -> Tensor:
    """Filtered back-projection in model units, for CCDF: what lies within the picture is in [0, 1] there."""
    scaled = measured.operator
    radon = getattr(scaled, "operator", scaled)
    assert isinstance(radon, Radon)
    # y = A (0.5 x): the constant of the units has been taken off
    return (filtered_back_projection(radon, measured.y, hann) / 0.5).clamp(-1, 1)


def methods(problem: Problem) -> dict[str, tuple[Method, int]]:
    tomography = isinstance(problem.operator, Radon)
    named: dict[str, tuple[Method, int]] = {
        "projected score": (ProjectedScore(), 30),
        "CCDF": (CCDF(back_projection if tomography else Ridge(), 0.5), 20),
        "PiGDM": (Guidance(PiGDM()), 20),
        "MMPS": (Guidance(MMPS()), 20),
    }
    if problem.operator.svd(tuple(problem.truth.shape[1:])) is not None:
        named = {"DDRM": (DDRM(), 20), "DDRM, published": (DDRM.published(), 20)} | named
        if isinstance(problem.operator, Mask) and problem.truth[0].numel() <= SMALL**2:
            named["RePaint"] = (RePaint(), 100)
    return named


def baselines(problem: Problem, mixture: Mixture | None) -> dict[str, Baseline]:
    operator = problem.operator
    found: dict[str, Baseline] = {
        "total variation": lambda given, like: tuned(problem, total_variation, WEIGHTS)(given, like),
        "conjugate gradients": lambda given, like: tuned(problem, least_squares, STOPS)(given, like),
    }
    if problem.truth.shape[1] == 2:
        found["zero filling"] = lambda given, like: operator.adjoint(given.y)
    if isinstance(operator, Radon):
        found["filtered back-projection"] = lambda given, like: filtered_back_projection(operator, given.y, hann)
    if mixture is not None:
        found["PCA mixture, exact"] = lambda given, like: mixture_mean(mixture, given, like)
    return found
