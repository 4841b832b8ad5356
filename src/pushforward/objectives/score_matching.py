"""Score matching for any score function or energy network: how far s is from ∇ log p, without knowing p.

With J(s) = E[tr ∇s + ½‖s‖²] (Hyvärinen 2005) the Fisher divergence ½E‖s − ∇ log p‖² is J(s) + ½E‖∇ log p‖². The losses
below have expectation J, or J of the noised data plus a constant (denoising). A score is a function (B, …) -> (B, …);
a log-density or negative energy (B, …) -> (B,) becomes one by `score_of`. All per sample, differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand, sum_per_sample
from pushforward.numerics.random import Draws

Score = Callable[[Tensor], Tensor]
"""s(x), an estimate of ∇ log p: (B, …) -> (B, …)."""

LogDensity = Callable[[Tensor], Tensor]
"""log p(x) + constant, or minus an energy: (B, …) -> (B,)."""

Probe = Callable[[Draws, Tensor], Tensor]
"""(draws, x) -> random directions v with E vvᵀ = I, of the shape of x."""


def gaussian_probe(draws: Draws, x: Tensor) -> Tensor:
    """v ~ N(0, I)."""
    return draws.normal_like(x)


def rademacher_probe(draws: Draws, x: Tensor) -> Tensor:
    """v_i = ±1: the least variance of vᵀ∇s v."""
    return draws.integers(2, x.shape[1:]).to(x.dtype) * 2 - 1


def sphere_probe(draws: Draws, x: Tensor) -> Tensor:
    """v uniform on the sphere of radius √d."""
    v = draws.normal_like(x)
    size = torch.linalg.vector_norm(v.flatten(1), dim=1)
    return v * expand(math.sqrt(x[0].numel()) / size, v)


def score_of(log_density: LogDensity) -> Score:
    """s = ∇ log p by automatic differentiation, itself differentiable; for an energy pass `lambda x: -energy(x)`."""

    def score(x: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            value = log_density(at)
            if value.shape != x.shape[:1]:
                raise UserError(
                    f"a log-density gives one number per sample, shape ({len(x)},); this gave {tuple(value.shape)}"
                )
            return torch.autograd.grad(value.sum(), at, create_graph=True)[0]

    return score


def _score(score: Score, x: Tensor) -> tuple[Tensor, Tensor]:
    """(x that is differentiated, s(x))."""
    at = x.detach().requires_grad_()
    s = score(at)
    if s.shape != x.shape:
        raise UserError(f"a score has the shape of its data, {tuple(x.shape)}; this gave {tuple(s.shape)}")
    return at, s


def _along(s: Tensor, at: Tensor, v: Tensor) -> Tensor:
    """vᵀ ∇s v per sample (samples must not influence one another: no batch normalisation)."""
    turned = None
    if s.requires_grad:
        turned = torch.autograd.grad((s * v).sum(), at, create_graph=True, allow_unused=True)[0]
    if turned is None:  # a score that does not depend on x
        return torch.zeros(len(at), dtype=at.dtype, device=at.device)
    return sum_per_sample(turned * v)


@torch.enable_grad()
def explicit_loss(score: Score, x: Tensor) -> Tensor:
    """tr ∇s + ½‖s‖² exactly, with d derivatives for d coordinates: (B, …) -> (B,)."""
    at, s = _score(score, x)
    trace = torch.zeros(len(x), dtype=s.dtype, device=s.device)
    for i in range(x[0].numel()):
        v = torch.zeros_like(x).flatten(1)
        v[:, i] = 1.0
        trace = trace + _along(s, at, v.reshape(x.shape))
    return trace + 0.5 * sum_per_sample(s.square())


@torch.enable_grad()
def sliced_loss(score: Score, x: Tensor, draws: Draws, *, probe: Probe = rademacher_probe, slices: int = 1) -> Tensor:
    """vᵀ∇s v + ½(vᵀs)² (Song et al. 2019), the mean over `slices` directions: (B,)."""
    at, s = _score(score, x)
    total = torch.zeros(len(x), dtype=s.dtype, device=s.device)
    for i in range(slices):
        v = probe(draws.at("slice", i), x)
        total = total + _along(s, at, v) + 0.5 * sum_per_sample(s * v).square()
    return total / slices


@torch.enable_grad()
def sliced_loss_reduced(
    score: Score, x: Tensor, draws: Draws, *, probe: Probe = rademacher_probe, slices: int = 1
) -> Tensor:
    """vᵀ∇s v + ½‖s‖², sliced with the second term exact: hardly noisier than the explicit loss: (B,)."""
    at, s = _score(score, x)
    total = torch.zeros(len(x), dtype=s.dtype, device=s.device)
    for i in range(slices):
        total = total + _along(s, at, probe(draws.at("slice", i), x))
    return total / slices + 0.5 * sum_per_sample(s.square())


def denoising_score_loss(score: Score, x: Tensor, sigma: Scalar, draws: Draws) -> Tensor:
    """½‖s(x̃) + z/σ‖² at x̃ = x + σz (Vincent 2011): (B,). Its minimum is the score of the *noised* data.

    The expectation is J of the noised density plus d/(2σ²). Times σ² it is the term of the ladder of Song & Ermon.
    """
    z = draws.at("noise").normal_like(x)
    noised = x + expand(sigma, x) * z
    return 0.5 * sum_per_sample((score(noised) + z / expand(sigma, x)).square())


def finite_difference_loss(
    log_density: LogDensity, x: Tensor, draws: Draws, *, step: float = 0.1, probe: Probe = sphere_probe
) -> Tensor:
    """J by three values of log p, no derivative by x (Pang et al. 2020): (B,).

    d·{[log p(x+v) + log p(x−v) − 2 log p(x)]/ε² + [log p(x+v) − log p(x−v)]²/(8ε²)} with ‖v‖ = ε, here written with
    u = √d v/ε of the probe. Exact in expectation at any ε where log p is quadratic; in float32 keep ε ≥ 1e-2.
    """
    if not step > 0:
        raise UserError(f"the step of the finite differences must be positive; got {step}")
    dim = x[0].numel()
    v = probe(draws.at("direction"), x) * (step / math.sqrt(dim))
    ahead, behind, here = log_density(x + v), log_density(x - v), log_density(x)
    return dim / step**2 * (ahead + behind - 2 * here + 0.125 * (ahead - behind).square())


def fisher_divergence(score: Score, truth: Score, x: Tensor) -> Tensor:
    """½‖s − ∇ log p‖² for a known score, at samples x of p: (B,)."""
    return 0.5 * sum_per_sample((score(x) - truth(x)).square())
