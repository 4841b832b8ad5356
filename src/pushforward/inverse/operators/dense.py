"""Operators given by matrices: dense ones, and products of one matrix for rows and one for columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import LinearOperator, Shape, of_as_many
from pushforward.inverse.operators.singular import SingularSystem


def _checked_matrix(matrix: Tensor, what: str) -> None:
    if matrix.ndim not in (2, 3) or not (matrix.is_floating_point() or matrix.is_complex()):
        raise UserError(f"{what} must be (m, n), or (B, m, n) for one per item, of floats; got {tuple(matrix.shape)}")
    if not bool(torch.isfinite(matrix).all()):
        raise UserError(f"{what} must hold finite numbers")


def precise(matrix: Tensor) -> Tensor:
    """In double precision."""
    return matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)


@dataclass(frozen=True, eq=False)
class Matrix(LinearOperator):
    """y = M vec(x), M (m, n) real or complex, or (B, m, n), one per item: (B, *shape) to (B, *measured).

    `shape` is that of one item (default: (n,)), `image` that of one measurement (default: (m,)).
    """

    matrix: Tensor
    shape: Shape | None = None
    image: Shape | None = None

    def __post_init__(self) -> None:
        _checked_matrix(self.matrix, "the matrix of an operator")
        m, n = self.matrix.shape[-2:]
        shape, image = tuple(self.shape or (n,)), tuple(self.image or (m,))
        if (math.prod(shape), math.prod(image)) != (n, m):
            raise UserError(f"a matrix of shape {(m, n)} does not map items of shape {shape} to {image}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "image", image)

    @staticmethod
    def of(operator: LinearOperator, shape: Shape | None = None) -> Matrix:
        """The matrix of any linear operator that is the same for all items, column by column; for small ones.

        Of operators between real and complex items it would not be a matrix of complex numbers: these are refused.
        """
        like = operator.zeros(shape)
        size = like[0].numel()
        basis = torch.eye(size, dtype=like.dtype).reshape(size, *like.shape[1:])
        if operator.items is not None:
            raise UserError("an operator with parameters per item has no one matrix")
        columns = operator(basis)
        if columns.is_complex() != like.is_complex():
            raise UserError("an operator between real and complex items has no one matrix")
        return Matrix(columns.flatten(1).T.contiguous(), tuple(like.shape[1:]), tuple(columns.shape[1:]))

    @property
    def items(self) -> int | None:
        return len(self.matrix) if self.matrix.ndim == 3 else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("matrix",) if self.matrix.ndim == 3 else ()

    @property
    def x_shape(self) -> Shape | None:
        return self.shape

    @property
    def x_complex(self) -> bool | None:
        return True if self.matrix.is_complex() else None

    def __call__(self, x: Tensor) -> Tensor:
        return self._times(self.matrix, x, self.shape or (), self.image or ())

    def adjoint(self, y: Tensor) -> Tensor:
        return self._times(self.matrix.mH, y, self.image or (), self.shape or ())

    def _times(self, matrix: Tensor, x: Tensor, expected: Shape, result: Shape) -> Tensor:
        if tuple(x.shape[1:]) != expected:
            raise UserError(f"this matrix takes items of shape {expected}, and {tuple(x.shape[1:])} was given")
        if matrix.is_complex() and not x.is_complex():
            raise UserError("a complex matrix acts on complex items, and real ones were given: put RealAsComplex first")
        of_as_many(self.items, x)
        matrix = matrix.to(x.device, x.dtype)
        flat = x.flatten(1)
        y = flat @ matrix.T if matrix.ndim == 2 else (matrix @ flat[..., None])[..., 0]
        return y.reshape(len(y), *result)

    def _svd(self, shape: Shape) -> SingularSystem:
        u, s, vh = torch.linalg.svd(precise(self.matrix), full_matrices=False)
        k = (s.shape[-1],)
        s = s if s.ndim == 2 else s[None]
        return SingularSystem(Matrix(u, k, self.image), s, Matrix(vh.mH, k, self.shape), max(self.matrix.shape[-2:]))


@dataclass(frozen=True, eq=False)
class Separable(LinearOperator):
    """Y = R X Cᵀ in each channel, R (h', h) and C (w', w), or one of each per item: (…, h, w) to (…, h', w').

    Its singular values are all products of those of R and C.
    """

    rows: Tensor
    columns: Tensor

    def __post_init__(self) -> None:
        _checked_matrix(self.rows, "the matrix for the rows")
        _checked_matrix(self.columns, "the matrix for the columns")
        if self.rows.ndim != self.columns.ndim or (self.rows.ndim == 3 and len(self.rows) != len(self.columns)):
            raise UserError(
                "the matrices for rows and columns must both be shared, or one per item and as many of each"
            )

    @property
    def items(self) -> int | None:
        return len(self.rows) if self.rows.ndim == 3 else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("rows", "columns") if self.rows.ndim == 3 else ()

    @property
    def channelwise(self) -> bool:
        return self.rows.ndim == 2

    def __call__(self, x: Tensor) -> Tensor:
        of_as_many(self.items, x)
        return self._times(self.rows, x, self.columns)

    def adjoint(self, y: Tensor) -> Tensor:
        of_as_many(self.items, y)
        return self._times(self.rows.mT, y, self.columns.mT)

    @staticmethod
    def _times(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
        if x.ndim < 3 or x.shape[-2:] != (rows.shape[-1], columns.shape[-1]):
            raise UserError(
                f"this operator takes images of {rows.shape[-1]}×{columns.shape[-1]}, and items of shape "
                f"{tuple(x.shape[1:])} were given"
            )
        if rows.ndim == 3 and x.ndim > 3:
            rows, columns = rows[:, None], columns[:, None]
        return rows.to(x.device, x.dtype) @ x @ columns.to(x.device, x.dtype).mT

    def _svd(self, shape: Shape) -> SingularSystem:
        u_r, s_r, v_r = torch.linalg.svd(self.rows.double(), full_matrices=False)
        u_c, s_c, v_c = torch.linalg.svd(self.columns.double(), full_matrices=False)
        s = s_r[..., :, None] * s_c[..., None, :]
        s = s[None] if s.ndim == 2 else s
        s = s.reshape(len(s), *[1] * (len(shape) - 2), *s.shape[1:])
        s = s.expand(len(s), *shape[:-2], *s.shape[-2:])
        rounding = max(*self.rows.shape[-2:], *self.columns.shape[-2:])
        return SingularSystem(Separable(u_r, u_c), s, Separable(v_r.mT, v_c.mT), rounding)


def convolution_matrix(kernel: Tensor, size: int, periodic: bool) -> Tensor:
    """(size, size): y_i = Σ_j k_j x_{i + c − j}, c = len(k) // 2, with x continued periodically or by zeros."""
    if kernel.ndim != 1 or not len(kernel) or size < 1:
        raise UserError(f"a blur along one axis needs a kernel (k,) and a size; got {tuple(kernel.shape)} and {size}")
    matrix = kernel.new_zeros(size, size)
    at = torch.arange(size)
    for j, tap in enumerate(kernel):
        source = at + len(kernel) // 2 - j
        inside = torch.ones_like(at, dtype=torch.bool) if periodic else (source >= 0) & (source < size)
        matrix.index_put_((at[inside], source[inside] % size), tap.expand(int(inside.sum())), accumulate=True)
    return matrix


def separable_blur(rows: Tensor, columns: Tensor, size: tuple[int, int], periodic: bool = False) -> Separable:
    """A blur of images (…, *size) by the kernel rows ⊗ columns, (h,) and (w,); zeros outside unless `periodic`."""
    return Separable(convolution_matrix(rows, size[0], periodic), convolution_matrix(columns, size[1], periodic))
