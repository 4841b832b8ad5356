"""Iterations for a batch of linear systems: conjugate gradients, CGLS, the largest singular value."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.errors import NumericalError, UserError
from pushforward.numerics.broadcast import expand, sum_per_sample
from pushforward.numerics.random import key, keys, normal

Map = Callable[[Tensor], Tensor]

_PATIENCE = 60
"""Iterations without a smaller gradient after which CGLS has reached what rounding allows."""


def squares(x: Tensor) -> Tensor:
    """‖x‖² per sample, real: (B, …) -> (B,)."""
    return dots(x, x)


def dots(x: Tensor, y: Tensor) -> Tensor:
    """Re⟨x, y⟩ per sample: (B, …), (B, …) -> (B,)."""
    return sum_per_sample((x.conj() * y).real if x.is_complex() or y.is_complex() else x * y)


def noise_like(x: Tensor, *parts: int | str) -> Tensor:
    """Counted standard normals like `x` (B, …); complex ones with variance 1 in each part."""
    base = keys(key(*parts), range(len(x)), x.device)
    if x.is_complex():
        return torch.view_as_complex(normal(base, (*x.shape[1:], 2), x.real.dtype))
    return normal(base, x.shape[1:], x.dtype)


def conjugate_gradients(apply: Map, b: Tensor, tolerance: float | None = None, most: int | None = None) -> Tensor:
    """Solve M u = b per sample, M symmetric (Hermitian) and positive semi-definite: b (B, …) -> u (B, …).

    Stops where ‖M u − b‖ ≤ tolerance·‖b‖ (default: √eps of the dtype) for every sample, at the latest after `most`
    iterations (default: twice the dimension, at most 2000). For a singular M and a consistent b, u is the
    pseudo-inverse solution. Raises NumericalError where a residual stays above 1 % of ‖b‖.
    """
    eps = torch.finfo(b.dtype).eps
    bound = (eps**0.5 if tolerance is None else tolerance) ** 2 * squares(b)
    u, residual, direction = torch.zeros_like(b), b, b
    square = squares(b)
    for _ in range(most or min(2 * b[0].numel(), 2000)):
        active = square > bound
        if not bool(active.any()):
            return u
        image = apply(direction)
        curvature = dots(direction, image)
        # A sample that is done stays where it is while the others go on.
        active = active & (curvature > 0)
        rate = torch.where(active, square / torch.where(active, curvature, 1), 0)
        u = u + expand(rate, b) * direction
        residual = residual - expand(rate, b) * image
        previous, square = square, squares(residual)
        ratio = torch.where(active, square / torch.where(active, previous, 1), 0)
        direction = residual + expand(ratio, b) * direction
    if bool((square > 1e-4 * squares(b)).any()):
        raise NumericalError(
            "the linear solve of a measurement did not converge: the operator and its adjoint disagree, or the "
            "measurement lies outside the operator's range and is said to be free of noise; give sigma > 0"
        )
    return u


def cgls(
    forward: Map, adjoint: Map, y: Tensor, iterations: int | None = None, tolerance: float | None = None
) -> Tensor:
    """The shortest x that minimises ‖A x − y‖² per sample, by conjugate gradients on A* A (Hestenes & Stiefel 1952).

    Stops where ‖A*(y − A x)‖ ≤ tolerance·‖A* y‖ (default: 10 eps of the dtype), or where rounding lets it shrink no
    more, at the latest after `iterations` (default: twice the dimension, at most 1000). Stopped early, the count of
    iterations is the regulariser: few of them are a baseline for noisy measurements of ill-conditioned operators, such
    as those of tomography.
    """
    if iterations is not None and iterations < 1:
        raise UserError(f"CGLS needs at least one iteration; got {iterations}")
    residual = y
    direction = gradient = adjoint(y)
    x, square = torch.zeros_like(gradient), squares(gradient)
    best, lowest = x, square
    limit = 10 * torch.finfo(y.dtype).eps if tolerance is None else tolerance
    bound = limit**2 * square
    since = 0
    for _ in range(iterations or min(2 * x[0].numel(), 1000)):
        active = square > bound
        if not bool(active.any()) or since >= _PATIENCE:
            break
        image = forward(direction)
        curvature = squares(image)
        active = active & (curvature > 0)
        rate = torch.where(active, square / torch.where(active, curvature, 1), 0)
        x, residual = x + expand(rate, x) * direction, residual - expand(rate, y) * image
        gradient = adjoint(residual)
        previous, square = square, squares(gradient)
        # Once rounding rules, the gradient grows again: what was best is kept.
        better = square < lowest
        since = 0 if bool(better.any()) else since + 1
        best, lowest = (
            torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, best),
            torch.where(better, square, lowest),
        )
        ratio = torch.where(active, square / torch.where(active, previous, 1), 0)
        direction = gradient + expand(ratio, x) * direction
    return x if iterations is not None else best


def largest_singular_values(
    forward: Map, adjoint: Map, like: Tensor, most: int = 80, tolerance: float = 1e-10
) -> Tensor:
    """‖A‖ of each item like those of `like` (B, …), by Lanczos iteration on A* A with reorthogonalisation: (B,).

    Starts from counted noise; stops where no value changes by more than `tolerance`, relative. Never more than ‖A‖;
    up to about 1e-4 less where many singular values crowd below the largest.
    """
    v = noise_like(like[:1], "norm").expand_as(like)  # the same for all, so that none depends on its place in the batch
    basis = [v / expand(squares(v).sqrt(), v)]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    value = torch.zeros(len(like), dtype=like.real.dtype, device=like.device)
    for _ in range(min(most, like[0].numel() * (2 if like.is_complex() else 1))):
        w = adjoint(forward(basis[-1]))
        diagonal.append(dots(basis[-1], w))
        for _ in range(2):
            for kept in basis:
                w = w - expand(dots(kept, w), w) * kept
        previous, value = value, torch.linalg.eigvalsh(_tridiagonal(diagonal, beside))[:, -1]
        if bool((value - previous <= tolerance * value).all()):
            break
        length = squares(w).sqrt()
        beside.append(length)
        basis.append(w / expand(torch.where(length > 0, length, 1), w))
    return value.clamp(min=0).sqrt()


def _tridiagonal(diagonal: list[Tensor], beside: list[Tensor]) -> Tensor:
    """Symmetric (B, k, k) from k and k − 1 lists of (B,)."""
    matrix = torch.diag_embed(torch.stack(diagonal, 1))
    if beside:
        off = torch.diag_embed(torch.stack(beside, 1), 1)
        matrix = matrix + off + off.mT
    return matrix
