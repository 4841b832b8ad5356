"""T10, T11: score matching of a Gaussian model on Gaussian data, where every expectation is a finite sum."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.numerics.random import Draws
from pushforward.objectives import (
    denoising_score_loss,
    explicit_loss,
    finite_difference_loss,
    fisher_divergence,
    score_of,
    sliced_loss,
    sliced_loss_reduced,
)
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import Given, double, hermite, largest

MEAN, MODEL = double(0.3, -0.2), double(-0.1, 0.4)
COVARIANCE = double(1.0, 0.3, 0.3, 0.5).reshape(2, 2)
PRECISION = double(1.4, -0.5, -0.5, 1.9).reshape(2, 2)
J = float(
    0.5 * torch.trace(PRECISION @ PRECISION @ COVARIANCE)
    + 0.5 * (PRECISION @ (MEAN - MODEL)).square().sum()
    - torch.trace(PRECISION)
)
"""½ tr(Λ²Σ) + ½‖Λ(μ − ν)‖² − tr Λ: data N(μ, Σ), model N(ν, Λ⁻¹)."""

Loss = Callable[[Tensor], Tensor]


def model(x: Tensor) -> Tensor:
    """log N(x; ν, Λ⁻¹) without its constant."""
    centred = x - MODEL
    return -0.5 * ((centred @ PRECISION) * centred).sum(1)


def score(x: Tensor) -> Tensor:
    return (x - MODEL) @ -PRECISION


def data(nodes: int = 3) -> tuple[Tensor, Tensor]:
    """Points and weights that integrate polynomials of the data exactly."""
    z, weight = hermite(nodes, 2)
    return MEAN + z @ torch.linalg.cholesky(COVARIANCE).T, weight


def all_signs(draws: Draws, x: Tensor) -> Tensor:
    """The four directions ±1, ±1 in turn: with each point four times, the whole law of Rademacher probes."""
    return double(1, 1, 1, -1, -1, 1, -1, -1).reshape(4, 2).repeat(len(x) // 4, 1)


def expectation(loss: Loss) -> float:
    """E over the data and, for losses with a random direction, over all its values."""
    x, weight = data()
    return float(weight.repeat_interleave(4) / 4 @ loss(x.repeat_interleave(4, 0)).detach())


DRAWS = Draws.of(0, range(36))


def explicit(loss: Loss = lambda x: explicit_loss(score, x)) -> float:
    """tr ∇s + ½‖s‖²."""
    return expectation(loss) - J


def sliced(loss: Loss = lambda x: sliced_loss(score, x, DRAWS, probe=all_signs)) -> float:
    """vᵀ∇s v + ½(vᵀs)² over all signs v."""
    return expectation(loss) - J


def reduced(loss: Loss = lambda x: sliced_loss_reduced(score, x, DRAWS, probe=all_signs)) -> float:
    """vᵀ∇s v + ½‖s‖² over all signs v."""
    return expectation(loss) - J


def finite_difference(log_density: Callable[[Tensor], Tensor] = model) -> float:
    """Three values of log p, at a large step and at a small one: exact for a quadratic log p."""

    def at(step: float) -> float:
        return expectation(lambda x: finite_difference_loss(log_density, x, DRAWS, step=step, probe=all_signs))

    return largest(at(0.5) - J, at(0.01) - J)


def denoising(sigma: float = 0.3, loss: Callable[..., Tensor] = denoising_score_loss) -> float:
    """E ½‖s(x̃) + z/σ‖² = J of the noised data + d/(2σ²), all nodes of the noise at all of the data."""
    x, weight = data()
    z, q = hermite(3, 2)
    values = loss(score, x.repeat_interleave(9, 0), sigma, Given(z.repeat(9, 1)))
    found = float((weight[:, None] * q).reshape(-1) @ values.detach())
    noised = J + 0.5 * sigma**2 * float(torch.trace(PRECISION @ PRECISION))
    return found - noised - 2 / (2 * sigma**2)


def denoising_minimum(sigma: float = 0.3) -> Finding:
    """The linear score that minimises it is that of the noised data, −(Σ + σ²I)⁻¹; Σ⁻¹ is not it."""
    x, weight = data()
    z, q = hermite(3, 2)
    points, noise = x.repeat_interleave(9, 0), z.repeat(9, 1)
    mass, right = (
        (weight[:, None] * q).reshape(-1),
        torch.linalg.inv(COVARIANCE + sigma**2 * torch.eye(2, dtype=torch.float64)),
    )

    def gradient(precision: Tensor) -> Tensor:
        free = precision.clone().requires_grad_()
        values = denoising_score_loss(lambda v: (v - MEAN) @ -free, points, sigma, Given(noise))
        return torch.autograd.grad((mass * values).sum(), free)[0]

    wrong = largest(gradient(torch.linalg.inv(COVARIANCE)))
    return Finding(largest(gradient(right)) if wrong > 0.1 else math.inf, f"gradient at Σ⁻¹: {wrong:.2f}")


def hyvarinen() -> float:
    """½E‖s − ∇ log p‖² = J + ½E‖∇ log p‖², the last term being ½ tr Σ⁻¹."""
    x, weight = data()
    inverse = torch.linalg.inv(COVARIANCE)
    found = float(weight @ fisher_divergence(score, lambda v: (v - MEAN) @ -inverse, x))
    return found - J - 0.5 * float(torch.trace(inverse))


def without_constant(gradient: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]] = score_of) -> float:
    """−∇ of an energy with any constant Z is the score: against its closed form."""
    x, _ = data()
    found = (gradient(model)(x), gradient(lambda v: model(v) + 7.0)(x))
    return largest(*(one.detach() - score(x) for one in found))


def variance_reduced(samples: int = 4000) -> Finding:
    """With a random direction per sample the reduced loss has the expectation J and less spread."""
    draws = Draws.of(0, range(samples), "slices")
    x = MEAN + draws.at("x").normal((2,), torch.float64) @ torch.linalg.cholesky(COVARIANCE).T
    plain, better = (f(score, x, draws).detach() for f in (sliced_loss, sliced_loss_reduced))
    worst = largest(*(float((v.mean() - J) / (v.std() / math.sqrt(samples))) for v in (plain, better)))
    return Finding(
        worst if better.std() < plain.std() else math.inf, f"spread {plain.std():.2f} and {better.std():.2f}"
    )


CHECKS = (
    Check("explicit score matching", "T11", f"exact expectation against J = {J:.4f} in closed form", 1e-10, explicit),
    Check("sliced score matching", "T11", "all points and directions against J in closed form", 1e-10, sliced),
    Check(
        "sliced score matching, reduced variance",
        "T11",
        "all points and directions against J in closed form",
        1e-10,
        reduced,
    ),
    Check(
        "sliced losses with random directions",
        "T11",
        "4,000 samples against J, in standard errors; spread reduced",
        4.0,
        variance_reduced,
    ),
    Check(
        "finite-difference score matching",
        "T11",
        "steps 0.5 and 0.01 against J in closed form",
        1e-8,
        finite_difference,
    ),
    Check("denoising score matching", "T11", "exact expectation against J of the noised data + d/2σ²", 1e-9, denoising),
    Check(
        "what denoising score matching finds",
        "T11",
        "gradient at (Σ + σ²I)⁻¹ is 0, at Σ⁻¹ it is not",
        1e-9,
        denoising_minimum,
    ),
    Check("Fisher divergence = J + ½E‖∇ log p‖²", "T10", "both sides, exact expectations", 1e-10, hyvarinen),
    Check(
        "the score needs no Z",
        "T10",
        "gradient of energies with two constants against −Λ(x − ν)",
        1e-12,
        without_constant,
    ),
)
