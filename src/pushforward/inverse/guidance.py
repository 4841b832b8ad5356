"""A posterior is a Denoiser that holds a Denoiser: pseudo-inverse guidance (Song, Vahdat, Mardani, Kautz 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.inverse.observation import Observation
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.paths.gaussian import GaussianPath, Level

VarianceLaw = Callable[[Level], Scalar]
"""r_t², the variance of x_0 given x_t that the guidance assumes, at a level."""


def isotropic_variance(sigma_data: float) -> VarianceLaw:
    """r_t² = σ²σ_d²/(σ² + α²σ_d²): Var[x_0 | x_t] of a Gaussian prior of standard deviation σ_d per coordinate.

    The published σ²/(σ² + α²) is the case σ_d = 1, which is wrong for images in [-1, 1] (σ_d about 0.5).
    """
    if not sigma_data > 0:
        raise UserError(f"sigma_data must be a positive number; got {sigma_data}")
    return lambda level: (level.sigma * sigma_data) ** 2 / (level.sigma**2 + (level.alpha * sigma_data) ** 2)


@dataclass(frozen=True)
class PosteriorDenoiser(Denoiser):
    """E[x_0 | x_t, y] ≈ m + (σ²/α) ∇_x log N(y; A m, r_t² A Aᵀ + σ_y² I), with m = E[x_0 | x_t] of the prior.

    The gradient is Jᵀ Aᵀ(r_t² A Aᵀ + σ_y² I)⁻¹(y − A m), J = ∂m/∂x by automatic differentiation. Exact for an isotropic
    Gaussian prior and its r_t²; for others it errs at high noise, in choosing modes. Where α = 0 the identity
    (σ²/α)J = Cov[x_0 | x_t] is used with r_t² I for the covariance. Costs one evaluation and its gradient.
    """

    prior: Denoiser
    observation: Observation
    variance: VarianceLaw
    path: GaussianPath = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.prior.path)

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        if _is_float_zero(level.sigma):
            return self.prior.estimate(x, level)
        if _is_float_zero(level.alpha):
            mean = self.prior.estimate(x, level).mean
            variance = self.variance(level)
            return Estimate.of_mean(x, level, mean + expand(variance, x) * self._gain(mean, variance))
        # Gradients are needed even where the caller has switched them off, and tensors made in inference mode
        # cannot take part in them: the state is copied to an ordinary tensor.
        with torch.inference_mode(False), torch.enable_grad():
            state = x.detach().clone().requires_grad_()
            mean = self.prior.estimate(state, _ordinary(level)).mean
            gain = self._gain(mean.detach(), self.variance(level))
            (gradient,) = torch.autograd.grad(mean, state, gain)
        return Estimate.of_mean(x, level, mean.detach() + expand(level.sigma**2 / level.alpha, x) * gradient)

    def given(self, **conditions: object) -> PosteriorDenoiser:
        return replace(self, prior=self.prior.given(**conditions))

    @torch.no_grad()
    def _gain(self, mean: Tensor, variance: Scalar) -> Tensor:
        return self.observation.linear.gain(self.observation.residual(mean), variance, self.observation.sigma**2)


def posterior(denoiser: Denoiser, observation: Observation, variance: VarianceLaw) -> PosteriorDenoiser:
    """The denoiser of p(x | y) by pseudo-inverse guidance: any Step on any grid samples it.

    `variance` is usually `isotropic_variance(sigma_data)`. With σ_y = 0 and inconsistent y the fit is least squares.
    """
    return PosteriorDenoiser(denoiser, observation, variance)


def _is_float_zero(value: Scalar) -> bool:
    return not isinstance(value, Tensor) and value == 0


def _ordinary(level: Level) -> Level:
    """The level with its tensors, if any, copied to ones that gradients may be taken through."""
    return Level(*(v.clone() if isinstance(v, Tensor) else v for v in (level.t, level.alpha, level.sigma)))
