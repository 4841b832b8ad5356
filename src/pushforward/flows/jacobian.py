"""Exact Jacobians and log-determinants of any map, by forward mode, all columns in one batched pass.

The map takes a batch, (B, …) to (B, …), and must treat its samples independently. d passes' worth of work, d² numbers
per sample and d³ for the determinant: the oracle for the bijections that have a cheaper way.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.errors import UserError

Map = Callable[[Tensor], Tensor]


def jacobian(f: Map, x: Tensor, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """f(x) (B, …) and ∂f/∂x (B, m, n) of flattened outputs and inputs; `chunk` columns at a time (all by default)."""
    n = x[0].numel() if len(x) else 0
    if not n:
        raise UserError(f"A Jacobian needs at least one sample with one number; got a batch of shape {tuple(x.shape)}.")
    basis = torch.eye(n, dtype=x.dtype, device=x.device).reshape(n, 1, *x.shape[1:]).expand(n, *x.shape)

    def column(direction: Tensor) -> Tensor:
        return torch.func.jvp(f, (x,), (direction,))[1]

    columns = torch.func.vmap(column, chunk_size=chunk)(basis)
    return f(x), columns.flatten(2).movedim(0, 2)


def log_abs_det(f: Map, x: Tensor, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """f(x) and log |det ∂f/∂x| (B,). Raises UserError where outputs and inputs differ in number."""
    value, matrix = jacobian(f, x, chunk=chunk)
    if matrix.shape[1] != matrix.shape[2]:
        raise UserError(
            f"A determinant needs as many outputs as inputs; this map takes {matrix.shape[2]} numbers to "
            f"{matrix.shape[1]}: use `log_volume`."
        )
    return value, torch.linalg.slogdet(matrix)[1]


def log_volume(f: Map, x: Tensor, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """f(x) and ½ log det JᵀJ (B,): by how much an injective map into a larger space stretches volumes.

    Raises UserError where it goes into a smaller one.
    """
    value, matrix = jacobian(f, x, chunk=chunk)
    if matrix.shape[1] < matrix.shape[2]:
        raise UserError(f"A map from {matrix.shape[2]} numbers to {matrix.shape[1]} loses volume altogether.")
    # The QR factor keeps twice the digits that JᵀJ would.
    triangle = torch.linalg.qr(matrix).R
    return value, triangle.diagonal(dim1=1, dim2=2).abs().log().sum(1)
