"""Any likelihood: the most likely x_0 under N(m, r²) and the measurement, and the pull of the measurement there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.counts import Poisson
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.laplace import Laplace
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.likelihoods.others import Product
from pushforward.inverse.rules.gains import is_linear, linear_gain, pseudo_inverse_gain
from pushforward.inverse.rules.posterior import Correction, per_item
from pushforward.inverse.rules.tangent import Tangent
from pushforward.inverse.rules.variance import VarianceLaw
from pushforward.inverse.solve import dots, squares
from pushforward.numerics.broadcast import Scalar, choose, expand, sum_per_sample

Energy = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x -> −log p(y | x) (B,), smooth and finite everywhere, and its gradient (B, …)."""

_LEAST_COUNT = 0.1
"""Below this rate, in counts, the logarithm of Poisson counts is continued by its parabola."""
_ROUNDED = 0.1
"""The tip of |u|/b is rounded over this share of b."""
_MEMORY = 5
"""A step is taken if it is below the largest of so many values: steps of Barzilai and Borwein do not descend always."""


@dataclass(frozen=True)
class Proximal(Correction):
    """x* = argmax log p(y | x) − ‖x − m‖²/(2 r_t²); the correction is (σ²/α) Jᵀ (x* − m)/r_t².

    The Laplace approximation of ∫ p(y | x_0) N(x_0; m, r_t² I) dx_0, for any likelihood that has a gradient: Poisson,
    Laplace, an energy, a classifier, a product of several. For Gaussian noise and a linear operator x* is in closed
    form and this is PiGDM. Otherwise at most `iterations` gradients of the likelihood, none of the network, are spent:
    where the likelihood is itself a large network, `PlugIn` spends one. Without `jacobian`, the correction is x* − m.
    """

    iterations: int = 40
    variance: VarianceLaw | None = None
    jacobian: bool = True

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UserError(f"a proximal rule needs at least one iteration; got {self.iterations}")

    @property
    def law(self) -> VarianceLaw | None:
        return self.variance

    @property
    def gradients(self) -> bool:
        return self.jacobian

    def prepared(self, likelihood: Likelihood) -> Likelihood:
        return usual(likelihood)

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        gain = pull(likelihood, tangent.mean, tangent.variance, self.iterations)
        return tangent.trusted(gain, last=True) if self.jacobian else expand(tangent.variance, gain) * gain


def usual(likelihood: Likelihood) -> Likelihood:
    """White Gaussian noise where it is Gaussian on a linear operator; any other as it is."""
    return likelihood.whitened() if isinstance(likelihood, Gaussian) and is_linear(likelihood) else likelihood


def pull(likelihood: Likelihood, mean: Tensor, variance: Scalar, iterations: int) -> Tensor:
    """(x* − m)/r²: in closed form for linear Gaussian measurements, by descent for all others."""
    if isinstance(likelihood, Gaussian) and is_linear(likelihood):
        return linear_gain(likelihood, mean, variance)
    if isinstance(likelihood, Gaussian) and likelihood.exact:
        return pseudo_inverse_gain(likelihood, mean, variance, 0.0)
    found = proximal_point(energy(likelihood), mean, variance, iterations)
    return (found - mean) / expand(variance, mean)


def proximal_point(energy: Energy, mean: Tensor, variance: Scalar, iterations: int, tolerance: float = 1e-4) -> Tensor:
    """argmin E(x) + ‖x − m‖²/(2 r²) per item, from m, by gradient steps of Barzilai and Borwein (1988).

    Each item has its own step and stops where r ‖gradient‖ is below `tolerance` √d: where x is off by less than that
    share of r. Not found within `iterations` gradients, the best point of all is returned.
    """
    var = per_item(variance, mean)
    x, best = mean, mean
    value, gradient = _objective(energy, x, mean, var)
    lowest, recent, step = value, [value], var
    bound = tolerance**2 * mean[0].numel()
    for _ in range(iterations):
        active = var * squares(gradient) > bound
        if not bool(active.any()):
            break
        trial = x - expand(step, x) * gradient
        new, slope = _objective(energy, trial, mean, var)
        ceiling = torch.stack(recent).amax(0)
        # An item that is done stays where it is while the others go on.
        taken = active & (new <= ceiling - 1e-4 * step * squares(gradient))
        moved, turned = trial - x, slope - gradient
        along = dots(moved, turned)
        # 1/r² bounds the curvature from below where the energy is convex, so steps are never above r².
        longest = torch.where(along > 0, squares(moved) / torch.where(along > 0, along, 1), var)
        step = torch.where(taken, torch.minimum(longest, var), step / 4)
        x, gradient = (choose(taken, a, b) for a, b in ((trial, x), (slope, gradient)))
        value = torch.where(taken, new, value)
        better = value < lowest
        best, lowest = choose(better, x, best), torch.where(better, value, lowest)
        recent = [*recent, value][-_MEMORY:]
    return best


def _objective(energy: Energy, x: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    value, gradient = energy(x)
    away = x - mean
    return value + squares(away) / (2 * var), gradient + away / expand(var, away)


@singledispatch
def energy(likelihood: Likelihood) -> Energy:
    """−log p(y | x) and its gradient, continued smoothly where it is infinite or has a tip."""

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            state = x.detach().clone().requires_grad_()
            value = -likelihood.log_prob(state)
            (gradient,) = torch.autograd.grad(value.sum(), state)
        return value.detach(), gradient

    return of


@energy.register
def _(likelihood: Gaussian) -> Energy:
    return lambda x: (-likelihood.log_prob(x), -likelihood.gradient(x))


@energy.register
def _(likelihood: Product) -> Energy:
    parts = [energy(part) for part in likelihood.parts]

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = zip(*(part(x) for part in parts), strict=True)
        return torch.stack(values).sum(0), torch.stack(gradients).sum(0)

    return of


@energy.register
def _(likelihood: Poisson) -> Energy:
    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        predicted = likelihood.operator(x)
        counts = (likelihood.gain * likelihood.given(predicted)).round()
        rate = likelihood.gain * predicted
        safe = rate.clamp(min=_LEAST_COUNT)
        below = (rate - _LEAST_COUNT).clamp(max=0)
        # Without counts the rate alone would fall for ever: below 0 it costs as one count would.
        stiff = counts.clamp(min=1) / _LEAST_COUNT**2
        value = rate - counts * (safe.log() + below / _LEAST_COUNT) + stiff / 2 * below**2
        slope = 1 - counts / safe + stiff * below
        measured = likelihood.operator.measured
        return (
            sum_per_sample(measured(value)),
            likelihood.operator.vjp(x, measured(likelihood.gain * slope)),
        )

    return of


@energy.register
def _(likelihood: Laplace) -> Energy:
    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        share = likelihood.residual(x) / likelihood.scale
        size = torch.sqrt(share**2 + _ROUNDED**2)
        return sum_per_sample(size), likelihood.operator.vjp(x, -share / size / likelihood.scale)

    return of


@dataclass(frozen=True)
class DiffPIR(Correction):
    """m is replaced by x* = argmax log p(y | x) − λ‖x − m‖²/(2ρ²), ρ = σ/α (Zhu et al. 2023): no gradient of m.

    λ = 7 is published; it is to be tuned, and the draws are of no posterior but where λ = 1 + ρ²/σ_d² happens to be
    right. `DIFFPIR` is the rule with its sampler. One evaluation; in closed form where the operator has a singular
    system.
    """

    strength: float = 7.0
    iterations: int = 40

    def __post_init__(self) -> None:
        if not (self.strength > 0 and math.isfinite(self.strength)) or self.iterations < 1:
            raise UserError(
                f"DiffPIR needs λ above 0 and at least one iteration; got {self.strength} and {self.iterations}"
            )

    @property
    def gradients(self) -> bool:
        return False

    def prepared(self, likelihood: Likelihood) -> Likelihood:
        return usual(likelihood)

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        alpha, sigma = (per_item(v, tangent.mean).double() for v in (tangent.level.alpha, tangent.level.sigma))
        # Nothing is more unsure than this: a prox at α = 0 is the pseudo-inverse of what little is known
        variance = (sigma / alpha.clamp(min=1e-4)) ** 2 / self.strength
        gain = pull(likelihood, tangent.mean, variance, self.iterations)
        return expand(variance, gain) * gain
