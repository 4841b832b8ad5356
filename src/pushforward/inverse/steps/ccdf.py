"""Come closer, diffuse faster (Chung, Sim, Ye 2022): start at a little noise from a first estimate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.steps.anew import AnewAbove
from pushforward.inverse.steps.measured import Measured
from pushforward.inverse.steps.moves import grid_for
from pushforward.inverse.steps.projection import MODELLED, ProjectedStep, Projection, Published
from pushforward.numerics.random import Draws
from pushforward.paths.below import Below
from pushforward.paths.grids import Grid, Uniform
from pushforward.paths.processes import VP
from pushforward.samplers.ancestral import DDPM
from pushforward.samplers.step import Observer, Step, simulate, steps_for

First = Callable[[Measured], Tensor]
"""A first estimate of x from a measurement: (B, …). A network of the user's: `lambda m: network(m.y)`."""


def least_squares(measured: Measured) -> Tensor:
    """A⁺ y."""
    return measured.pseudo_inverse()


@dataclass(frozen=True)
class Ridge:
    """The mean of x given y under the prior N(centre, deviation² I): A⁺ y where that is sure, else the centre."""

    deviation: float = 0.5
    centre: float = 0.0

    def __call__(self, measured: Measured) -> Tensor:
        like = measured.operator.adjoint(torch.zeros_like(measured.y))
        flat = torch.full_like(like, self.centre)
        return flat + measured.gain(measured.residual(flat), self.deviation**2, measured.variance)


@dataclass(frozen=True)
class CCDF:
    """x_{t_0} = α x̂ + σ z from a first estimate x̂, then steps with projections: few, the nearer x̂ is to x.

    `noise` is σ/α at t_0, in units of the data: about the error of x̂ per coordinate. The result leans to x̂, the more
    so the less noise it is given. The projection does not expand distances, so errors of x̂ shrink (theorem 1).
    Without a `step` it is `AnewAbove` the measurement's noise; DDPM, as published, keeps more of what x̂ knows.
    """

    first: First = Ridge()
    noise: float = 0.5
    projection: Projection = MODELLED
    step: Step | None = None
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if not (self.noise > 0 and math.isfinite(self.noise)):
            raise UserError(f"the noise at which CCDF starts is a number above 0; got {self.noise}")

    @staticmethod
    def published(t0: float = 0.2, first: First = least_squares) -> CCDF:
        """t_0 = 0.2 of VP for super-resolution and inpainting, 20 to 200 of 1000 evaluations; σ_y not modelled."""
        return CCDF(first, VP().level(t0).ratio, Published(), DDPM, Uniform())

    def restore(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Tensor:
        """One draw for each row of the batch; see `Method`."""
        measured, path = Measured.of(likelihood, x), denoiser.path
        least = path.level(path.t_min).ratio
        if self.noise <= least:
            raise UserError(
                f"CCDF is to start at noise {self.noise:g}, and the model knows noise from {least:.3g} on: give more"
            )
        t0 = float(path.time(torch.tensor(-math.log(self.noise), dtype=torch.float64)))
        below = Below(path, t0)
        step = ProjectedStep(measured, self.step or AnewAbove.of(measured), None, self.projection)
        grid = grid_for(denoiser, self.grid)
        levels = grid(below, steps_for(step, below, grid, evaluations))
        estimate = self.first(measured)
        if estimate.shape != x.shape or estimate.is_complex() or not bool(torch.isfinite(estimate).all()):
            kind = "complex" if estimate.is_complex() else "real"
            raise UserError(
                f"the first estimate must be finite, real and of the shape {tuple(x.shape)}; got a {kind} one of the "
                f"shape {tuple(estimate.shape)}"
            )
        z = x / path.level(path.t_max).sigma
        return simulate(denoiser, step, path.mix(estimate.to(x.dtype), z, levels[0]), levels, draws, observe=observe)
