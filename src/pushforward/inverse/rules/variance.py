"""r_t²: the variance of x_0 given x_t that a rule assumes where it does not compute one."""

from __future__ import annotations

from collections.abc import Callable

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar
from pushforward.paths.gaussian import Level
from pushforward.samplers.default import deviation

VarianceLaw = Callable[[Level], Scalar]
"""r_t² at a level; `VarianceTable.var`, estimated on data, is another."""


def isotropic_variance(sigma_data: float) -> VarianceLaw:
    """r_t² = σ²σ_d²/(σ² + α²σ_d²): Var[x_0 | x_t] of a Gaussian prior of standard deviation σ_d per coordinate.

    The published σ²/(σ² + α²) is the case σ_d = 1, which is wrong for images in [-1, 1] (σ_d about 0.5).
    """
    if not sigma_data > 0:
        raise UserError(f"sigma_data must be a positive number; got {sigma_data}")
    return lambda level: (level.sigma * sigma_data) ** 2 / (level.sigma**2 + (level.alpha * sigma_data) ** 2)


def law_of(denoiser: Denoiser, law: VarianceLaw | None) -> VarianceLaw:
    """The law given, else the isotropic one of the data that the denoiser was made for."""
    return law or isotropic_variance(deviation(denoiser))
