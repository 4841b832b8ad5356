"""Inverse problems: what was measured of x, and denoisers that know it."""

from pushforward.inverse.guidance import PosteriorDenoiser, isotropic_variance, posterior
from pushforward.inverse.observation import Observation
from pushforward.inverse.operators import Blur, LinearOperator, Mask, gaussian_kernel

__all__ = [
    "Blur",
    "LinearOperator",
    "Mask",
    "Observation",
    "PosteriorDenoiser",
    "gaussian_kernel",
    "isotropic_variance",
    "posterior",
]
