"""Conjugate gradients for a batch of symmetric systems, each stopped by its own residual."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.errors import NumericalError
from pushforward.numerics.broadcast import expand, sum_per_sample


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], b: Tensor, tolerance: float | None = None, most: int | None = None
) -> Tensor:
    """Solve M u = b per sample, M symmetric and positive semi-definite: b (B, …) -> u (B, …).

    Stops where ‖M u − b‖ ≤ tolerance·‖b‖ (default: √eps of the dtype) for every sample, at the latest after `most`
    iterations (default: twice the dimension). For a singular M and a consistent b, u is the pseudo-inverse solution.
    Raises NumericalError where a residual stays above 1 % of ‖b‖.
    """
    eps = torch.finfo(b.dtype).eps
    bound = (eps**0.5 if tolerance is None else tolerance) ** 2 * sum_per_sample(b * b)
    u, residual, direction = torch.zeros_like(b), b, b
    square = sum_per_sample(b * b)
    for _ in range(most or 2 * b[0].numel()):
        active = square > bound
        if not bool(active.any()):
            return u
        image = apply(direction)
        curvature = sum_per_sample(direction * image)
        # A sample that is done stays where it is while the others go on.
        active = active & (curvature > 0)
        rate = torch.where(active, square / torch.where(active, curvature, 1), 0)
        u = u + expand(rate, b) * direction
        residual = residual - expand(rate, b) * image
        previous, square = square, sum_per_sample(residual * residual)
        ratio = torch.where(active, square / torch.where(active, previous, 1), 0)
        direction = residual + expand(ratio, b) * direction
    if bool((square > 1e-4 * sum_per_sample(b * b)).any()):
        raise NumericalError(
            "the linear solve of a measurement did not converge: the operator and its adjoint disagree, or the "
            "measurement lies outside the operator's range and is said to be free of noise; give sigma > 0"
        )
    return u
