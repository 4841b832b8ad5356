"""Exact endpoints of the probability flow, to measure samplers against."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar
from pushforward.numerics.ode import Adaptive, Largest
from pushforward.numerics.tableaus import DOP853
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level


@torch.no_grad()
def reference_flow(
    denoiser: Denoiser,
    x: Tensor,
    start: Scalar | Level,
    end: Level = CLEAN,
    *,
    tolerance: float = 1e-8,
    smallest: float = 1e-4,
    max_steps: int = 10_000,
) -> Tensor:
    """The point to which the probability flow carries x: (B, …) from one level to another, in float64.

    Adaptive, eighth order, in y = x/√(α² + σ²) and τ = log(σ/α), where dy/dτ = −F/(e^τ + e^{−τ}) with F the EDM
    quantity for σ_data = 1; the largest error over coordinates is kept to `tolerance`, for each sample alone. To clean
    data it stops at σ/α = `smallest` and ends on (x/α + E[x_0 | x])/2, whose error is (smallest/s)⁴ for the smallest
    scale s of the data. Either direction; both levels need σ > 0 (but for clean data at the end) and α > 0.
    """
    path, first = denoiser.path, denoiser.path.level(start)
    if not (first.alpha > 0 and first.sigma > 0) or not end.alpha > 0:
        raise UserError("the reference flow starts at a level with α > 0 and σ > 0 and ends where α > 0")
    to_clean = end.sigma == 0
    stop = math.log(smallest) if to_clean else math.log(end.ratio)
    root = math.hypot(first.alpha, first.sigma)

    def velocity(tau: Scalar, y: Tensor, rows: Tensor | None) -> Tensor:
        level = level_at(path, tau)
        alpha, sigma = torch.as_tensor(level.alpha), torch.as_tensor(level.sigma)
        size = torch.hypot(alpha, sigma)
        at = denoiser if rows is None else denoiser.rows(rows)
        shape = (-1, *(1,) * (y.ndim - 1))
        estimate = at.estimate(y * size.reshape(shape), level)
        return estimate.read(-alpha * sigma**2 / size**3, alpha**2 * sigma / size**3)

    solve = Adaptive(Largest(tolerance, tolerance), DOP853, max_steps)
    y = solve(velocity, x.to(torch.float64) / root, math.log(first.ratio), stop).y
    last = level_at(path, stop) if to_clean else end
    state = y * math.hypot(last.alpha, last.sigma)
    return (state / last.alpha + denoiser.estimate(state, last).mean) / 2 if to_clean else state


def level_at(path: GaussianPath, tau: Scalar) -> Level:
    """The level with log(σ/α) = τ exactly; beyond the path's ends, that end with its σ changed."""
    wanted = torch.as_tensor(tau, dtype=torch.float64)
    t = path.time(-wanted)
    alpha = path.scales(t)[0]
    sigma = alpha * torch.exp(wanted)
    return Level(t, alpha, sigma) if wanted.ndim else Level(float(t), float(alpha), float(sigma))
