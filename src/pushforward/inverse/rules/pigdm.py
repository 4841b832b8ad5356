"""Pseudo-inverse guidance (Song, Vahdat, Mardani, Kautz 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.rules.gains import as_gaussian, inverse_noise, is_linear, linear_gain, pseudo_inverse_gain
from pushforward.inverse.rules.posterior import Correction
from pushforward.inverse.rules.tangent import Tangent
from pushforward.inverse.rules.variance import VarianceLaw
from pushforward.numerics.broadcast import expand


@dataclass(frozen=True)
class PiGDM(Correction):
    """p(x_0 | x_t) ≈ N(m, r_t² I): the correction is (σ²/α) Jᵀ A*(r_t² A A* + σ_y²)⁻¹(y − A m).

    Exact for an isotropic Gaussian prior and its r_t²; for others it errs at high noise, in choosing modes. Where the
    derivative is no covariance (`Tangent.trusted`), r_t² takes its place. Where h is not linear, (h†(y) −
    h†(h(m)))/(r_t² + τ²) takes the place of the gain, τ² the noise of h†(y): no derivative of h is needed. One
    evaluation and its gradient; without `jacobian`, r_t² in the place of (σ²/α) Jᵀ, no gradient, and about
    three times the error. `variance` is by default that of isotropic data of the denoiser's own deviation, where the
    paper assumes deviation 1 (`isotropic_variance(1.0)`): see `PublishedPiGDM` for its sampler.
    """

    variance: VarianceLaw | None = None
    jacobian: bool = True

    @property
    def law(self) -> VarianceLaw | None:
        return self.variance

    @property
    def gradients(self) -> bool:
        return self.jacobian

    def prepared(self, likelihood: Likelihood) -> Gaussian:
        return as_gaussian(likelihood, "PiGDM")

    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        gain = gaussian_gain(likelihood, tangent)
        return tangent.trusted(gain, last=True) if self.jacobian else expand(tangent.variance, gain) * gain


def gaussian_gain(likelihood: Likelihood, tangent: Tangent) -> Tensor:
    """The gain under N(m, r_t² I): in closed form for linear operators, else by the pseudo-inverse."""
    gaussian = as_gaussian(likelihood, "this gain")
    if is_linear(gaussian):
        return linear_gain(gaussian, tangent.mean, tangent.variance)
    return pseudo_inverse_gain(gaussian, tangent.mean, tangent.variance, inverse_noise(gaussian))
