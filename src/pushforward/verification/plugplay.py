"""T26: a denoiser as an energy, on a Gaussian prior where −log p, the posterior and every divergence are known."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.denoisers.oracle import Mixture, MixtureDenoiser
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath
from pushforward.paths.processes import EDM, VP
from pushforward.plugplay import (
    Annealed,
    DenoisingEnergy,
    Descent,
    LangevinSampling,
    SmoothedEnergy,
    Weighting,
    elbo,
    everywhere,
    uniform,
)
from pushforward.plugplay.constraint import Constraint
from pushforward.verification.check import Check, Finding

VARIANCE, NOISE, SEEN = 0.3, 0.2, 1.0
"""Of the prior N(0, s²) and of the measurement y = x + N(0, σ²), and y."""
MEAN = SEEN * VARIANCE / (VARIANCE + NOISE)
WIDTH = VARIANCE * NOISE / (VARIANCE + NOISE)
"""Mean and variance of the posterior."""
_DOUBLE = torch.float64


def prior(path: GaussianPath | None = None) -> MixtureDenoiser:
    """The exact denoiser of N(0, 0.3) in one dimension."""
    one = torch.ones(1, dtype=_DOUBLE)
    return MixtureDenoiser(Mixture.of_covariances(one, 0 * one[:, None], VARIANCE * one), path or VP())


def seen(x: Tensor) -> Tensor:
    """−log p(y | x) of the measurement, up to a constant."""
    return (x[:, 0] - SEEN).square() / (2 * NOISE)


def curvature(weighting: Weighting, path: GaussianPath | None = None) -> float:
    """F(1) − F(0) with the same z for both."""
    energy = DenoisingEnergy(prior(path), weighting, pairs=True)
    ends = torch.tensor([[1.0], [0.0]], dtype=_DOUBLE)
    high, low = energy.whole(ends, Draws.of(0, [0, 0]), 96).tolist()
    return high - low


def bound_is_density(weighting: Weighting = elbo) -> Finding:
    """F(1) − F(0) against 1/(2 s²), on two paths."""
    truth = 1 / (2 * VARIANCE)
    found = [curvature(weighting, path) for path in (VP(), EDM())]
    return Finding(
        max(abs(f / truth - 1) for f in found), f"{found[0]:.4f} x² and {found[1]:.4f} x², −log p {truth:.4f} x²"
    )


def uniform_is_not() -> Finding:
    """The curvature of uniform weights against ∫ c²α² dt by quadrature, c = σ/(α²s² + σ²)."""
    path = VP()
    t = torch.linspace(path.t_min, path.t_max, 20001, dtype=_DOUBLE)
    alpha, sigma = path.scales(t)
    truth = float(torch.trapezoid((alpha * sigma / (alpha**2 * VARIANCE + sigma**2)) ** 2, t)) / (
        path.t_max - path.t_min
    )
    found = curvature(uniform)
    return Finding(found / truth - 1, f"{found:.4f} x² where −log p is {1 / (2 * VARIANCE):.4f} x²")


def estimate(weighting: Weighting, items: int = 64, steps: int = 120, constraint: Constraint = seen) -> float:
    """The mean over independent runs of the point estimate of x."""
    energy = DenoisingEnergy(prior(), weighting, pairs=True)
    start, draws = torch.full((items, 1), 0.5, dtype=_DOUBLE), Draws.of(1, range(items))
    return float(Descent(steps, 0.05, schedule=everywhere)(energy, constraint, start, draws).mean())


def posterior_mean(weighting: Weighting = elbo) -> Finding:
    """The point estimate under the evidence bound, against y s²/(s² + σ²)."""
    found = estimate(weighting)
    return Finding(found / MEAN - 1, f"{found:.4f}, posterior mean {MEAN:.4f}")


def uniform_misses() -> Finding:
    """The estimate under uniform weights against the minimum of the energy that it has; the posterior's mean is far."""
    implied = SEEN / (1 + 2 * curvature(uniform) * NOISE)
    found = estimate(uniform)
    if abs(found / MEAN - 1) < 0.03:
        return Finding(float("inf"), "uniform weights gave the posterior's mean, which they cannot")
    return Finding(found / implied - 1, f"{found:.4f}, {found / MEAN - 1:+.0%} off the posterior mean {MEAN:.4f}")


def smoothed_gradient() -> float:
    """(α/σ) E[ẑ − z] against d/dx KL(N(αx, σ²) ‖ N(0, α²s² + σ²)) = α² x/(α²s² + σ²), relative."""
    worst, energy = 0.0, SmoothedEnergy(prior(), pairs=True)
    for t in (0.05, 0.3, 0.8):
        level = energy.denoiser.path.level(t)
        x = torch.tensor([[0.7]], dtype=_DOUBLE, requires_grad=True)
        (found,) = torch.autograd.grad(energy.at(x, level, Draws.of(0, [0])).sum(), x)
        truth = level.alpha**2 * 0.7 / (level.alpha**2 * VARIANCE + level.sigma**2)
        worst = max(worst, abs(float(found) / truth - 1))
    return worst


def smoothed_estimate() -> Finding:
    """Without the network's derivative, annealed to little noise: the same estimate."""
    start, draws = torch.zeros((1, 1), dtype=_DOUBLE), Draws.of(1, [0])
    energy = SmoothedEnergy(prior(), pairs=True)
    found = float(Descent(300, 0.05, schedule=Annealed(5.0, 0.02))(energy, seen, start, draws))
    return Finding(found / MEAN - 1, f"{found:.4f}, posterior mean {MEAN:.4f}")


def langevin(weighting: Weighting = elbo, items: int = 1000) -> Finding:
    """Mean and variance of Langevin draws against the posterior's: the larger relative error."""
    energy = DenoisingEnergy(prior(), weighting, pairs=True)
    start, draws = torch.full((items, 1), 0.5, dtype=_DOUBLE), Draws.of(2, range(items))
    x = LangevinSampling(150, 3e-3)(energy, seen, start, draws)
    mean, variance = float(x.mean()), float(x.var())
    error = max(abs(mean / MEAN - 1), abs(variance / WIDTH - 1))
    return Finding(error, f"mean {mean:.3f} ({MEAN:.3f}), variance {variance:.3f} ({WIDTH:.3f})")


CHECKS = (
    Check("the ELBO-weighted energy is −log p", "T26", "curvature, s² = 0.3", 0.005, bound_is_density),
    Check("uniform weights are another energy", "T26", "quadrature in t", 0.01, uniform_is_not),
    Check("its minimum is the posterior mean", "T26", "y s²/(s² + σ²)", 0.03, posterior_mean),
    Check("uniform weights miss the posterior mean", "T26", "minimum of their own energy", 0.03, uniform_misses),
    Check("the gradient that stops at the network", "T26", "d KL(N(αx, σ²) ‖ p_t)/dx", 1e-9, smoothed_gradient),
    Check("annealed, it finds the posterior mean", "T26", "y s²/(s² + σ²)", 0.03, smoothed_estimate),
    Check("Langevin draws under a constraint", "T26", "mean and variance of the posterior", 0.15, langevin),
)
