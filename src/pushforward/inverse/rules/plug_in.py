"""Rules that look at the likelihood at one point: DPS, its plain form for any likelihood, score-ALD."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.rules.gains import as_gaussian, as_linear, is_linear, size_of
from pushforward.inverse.rules.posterior import Correction, per_item
from pushforward.inverse.rules.tangent import Tangent
from pushforward.inverse.rules.variance import VarianceLaw
from pushforward.inverse.solve import squares
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.paths.gaussian import Level


@dataclass(frozen=True)
class PlugIn(Correction):
    """p(y | x_t) ≈ p(y | x_0 = m)^w: the correction is w (σ²/α) Jᵀ ∇ log p(y | m). For any likelihood.

    Guidance by a classifier of clean data is `PlugIn()` with `Categorical`. Exact as σ → 0; at noise it takes the mean
    for the truth, and pulls r_t² ‖A‖²/σ_y² times too hard where the measurement is more precise than the mean: a few
    large steps fly off. Noise of Gaussian measurements may therefore be widened by `widening` r_t² ‖A‖² (1: by what is
    unsure of what the operator sees best; ‖A‖ counts as 1 where it is not linear). One evaluation and its gradient.
    """

    weight: float = 1.0
    widening: float = 0.0
    variance: VarianceLaw | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0 and self.widening >= 0):
            raise UserError(
                f"the weight and the widening of guidance are numbers of at least 0; got {self.weight} and "
                f"{self.widening}"
            )

    @property
    def law(self) -> VarianceLaw | None:
        return self.variance

    def prepared(self, likelihood: Likelihood) -> Likelihood:
        if self.widening:
            return as_gaussian(likelihood, "a widened PlugIn")
        if isinstance(likelihood, Gaussian) and likelihood.exact:
            raise UserError("a measurement free of noise has no density to plug a mean into: widen it, or use PiGDM()")
        return likelihood

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        if self.widening and isinstance(likelihood, Gaussian):
            size = size_of(likelihood.linear, tangent.mean) if is_linear(likelihood) else 1.0
            own, added = (per_item(v, tangent.mean) for v in (likelihood.sigma**2, tangent.variance))
            likelihood = replace(likelihood, sigma=(own + self.widening * size**2 * added).sqrt())
        return self.weight * tangent.covariance(likelihood.gradient(tangent.mean), last=True)


_BETA_MIN, _BETA_MAX, _STEPS = 0.1, 20.0, 1000
"""The schedule on which DPS was published: linear β of 1000 levels."""


@dataclass(frozen=True)
class DPS(Correction):
    """Diffusion posterior sampling (Chung et al. 2023), as published: each of 1000 levels moves by −ζ ∇_x ‖y − h(m)‖.

    The step of size ζ, whatever the residual, is no approximation of a likelihood: draws are not those of a posterior,
    and its spread says nothing of what is unknown; where ‖A‖ is far above 1, as in tomography, they fly off unless ζ is
    smaller. See `PlugIn` for the formula it is derived from. Here the published rate per level is one per change of
    noise level, −ζ (ρ²α/β(ρ)) ∇_x ‖y − h(m)‖ with ρ = σ/α and β(ρ) of the published schedule, so that it does not
    depend on the sampler, the path or the number of steps; with the published ones it is what was published. For h
    with a derivative; σ_y is not used. One evaluation and its gradient.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise UserError(f"the scale of DPS is a number of at least 0; got {self.scale}")

    def prepared(self, likelihood: Likelihood) -> Gaussian:
        return as_gaussian(likelihood, "DPS")

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        gaussian = as_gaussian(likelihood, "DPS")
        residual = gaussian.residual(tangent.mean)
        square = squares(residual)
        # Where all is met exactly there is no direction.
        unit = residual * expand(torch.where(square > 0, torch.where(square > 0, square, 1).rsqrt(), 0), residual)
        slope = tangent.pull(gaussian.operator.vjp(tangent.mean, unit), last=True)
        return expand(self.scale * published_rate(tangent.level), slope) * slope


def published_rate(level: Level) -> Scalar:
    """ρ²α/β(ρ): by how much the mean changes where DDPM on the published schedule moves its state by 1 per level.

    There log(1 + ρ²) = ∫β dt, and β² = β_min² + 2(β_max − β_min) ∫β dt. 0 where α = 0.
    """
    alpha, sigma = (torch.as_tensor(v, dtype=torch.float64) for v in (level.alpha, level.sigma))
    ratio = torch.where(alpha > 0, sigma / torch.where(alpha > 0, alpha, 1), 0)
    beta = torch.sqrt(_BETA_MIN**2 + 2 * (_BETA_MAX - _BETA_MIN) * torch.log1p(ratio**2)) / _STEPS
    rate = ratio**2 * alpha / beta
    return rate if rate.ndim else float(rate)


@dataclass(frozen=True)
class ScoreALD(Correction):
    """(σ²/α²) A*(y − A x_t/α)/(σ_y² + γ²ρ²), ρ = σ/α (Jalal et al. 2021): the likelihood of the noisy state itself.

    Its noise, σ_y² + ρ² A A*, is taken as white with γ² in the place of A A*. No derivative of the denoiser, no
    evaluation more. For linear operators. γ is ‖A‖ unless it is given: with less, the pull overshoots what is measured
    most by ‖A‖²/γ², and where that is above 2, as in tomography with the γ = 1 of operators of norm 1, draws fly off.
    """

    gamma: float | None = None

    def __post_init__(self) -> None:
        if self.gamma is not None and not self.gamma > 0:
            raise UserError(f"γ of score-ALD is above 0: it stands for the size of the operator; got {self.gamma}")

    @property
    def gradients(self) -> bool:
        return False

    def prepared(self, likelihood: Likelihood) -> Gaussian:
        return as_linear(likelihood, "score-ALD")

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        gaussian = as_linear(likelihood, "score-ALD")
        x, alpha, sigma = tangent.x, *_scales(tangent)
        gamma = size_of(gaussian.linear, x) if self.gamma is None else self.gamma
        # (1/α²)/(σ_y² + γ²σ²/α²) = 1/(α²σ_y² + γ²σ²), which is finite at α = 0
        noise = (alpha * per_item(gaussian.sigma, x)) ** 2 + (gamma * sigma) ** 2
        seen = gaussian.residual(x / expand(torch.where(alpha > 0, alpha, 1), x))
        pulled = gaussian.linear.adjoint(seen)
        return expand(torch.where(alpha > 0, sigma**2 / noise, 0), pulled) * pulled


def _scales(tangent: Tangent) -> tuple[Any, Any]:
    return per_item(tangent.level.alpha, tangent.x), per_item(tangent.level.sigma, tangent.x)
