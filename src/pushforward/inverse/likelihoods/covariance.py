"""Noise that is not the same everywhere, or correlated: n = L z with z ~ N(0, I)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.blur import Hartley
from pushforward.inverse.operators.dense import Matrix
from pushforward.inverse.operators.elementwise import Diagonal
from pushforward.inverse.operators.operator import LinearOperator, Shape


@dataclass(frozen=True, eq=False)
class Covariance:
    """L and its inverse as operators on measurements; log |det L| is the sum of `log_root` over what was measured.

    `diagonal` says that entries are independent, so that any of them may be missing.
    """

    root: LinearOperator
    inverse: LinearOperator
    log_root: Tensor
    diagonal: bool = False

    @staticmethod
    def of_deviations(deviations: Tensor, each: bool = False) -> Covariance:
        """Independent noise of these standard deviations, of the shape of one measurement or broadcastable to it.

        With `each`, (B, *that). For complex measurements they are those of each part.
        """
        if not bool((torch.isfinite(deviations) & (deviations > 0)).all()):
            raise UserError("standard deviations of a measurement must be finite and above 0")
        precise = deviations.double()
        return Covariance(Diagonal(precise, each), Diagonal(1 / precise, each), precise.log(), True)

    @staticmethod
    def of_matrix(matrix: Tensor, shape: Shape | None = None) -> Covariance:
        """The covariance of real flattened measurements, (m, m) or (B, m, m); their shape is `shape`, else (m,)."""
        size = matrix.shape[-1] if matrix.ndim in (2, 3) else -1
        if matrix.shape[-2:] != (size, size) or not torch.allclose(matrix, matrix.mT, rtol=1e-5, atol=0):
            raise UserError(f"a covariance is a symmetric matrix (m, m), or one per item; got {tuple(matrix.shape)}")
        root, wrong = torch.linalg.cholesky_ex(matrix.double())
        if bool((wrong > 0).any()) or not bool(torch.isfinite(root).all()):
            raise UserError("the covariance of a measurement must be positive definite")
        shape = shape or (size,)
        eye = torch.eye(size, dtype=torch.float64, device=root.device).expand_as(root)
        inverse = torch.linalg.solve_triangular(root, eye, upper=False)
        log_det = root.diagonal(dim1=-2, dim2=-1).log().mean(-1)
        log_root = log_det.reshape(log_det.shape + (1,) * (len(shape) if log_det.ndim else 0))
        return Covariance(Matrix(root, shape, shape), Matrix(inverse, shape, shape), log_root)

    @staticmethod
    def of_spectrum(power: Tensor) -> Covariance:
        """Stationary noise in images, of this power at each frequency of the unitary FFT: (H, W), even in frequency.

        White noise of variance σ² has the power σ² everywhere.
        """
        mirrored = power.flip((-2, -1)).roll((1, 1), (-2, -1)) if power.ndim == 2 else power
        if power.ndim != 2 or not bool((torch.isfinite(power) & (power > 0)).all()):
            raise UserError("the power spectrum of noise is a finite (H, W), above 0 everywhere")
        if not torch.allclose(power, mirrored, rtol=1e-5):
            raise UserError("the power spectrum of real noise is even: the same at a frequency and at its negative")
        deviations, hartley = power.double().sqrt(), Hartley()
        return Covariance(
            hartley @ Diagonal(deviations) @ hartley,
            hartley @ Diagonal(1 / deviations) @ hartley,
            deviations.log().mean(),
        )

    def select(self, index: Tensor) -> Covariance:
        each = self.root.items is not None
        log_root = self.log_root[index] if each else self.log_root
        return replace(self, root=self.root.select(index), inverse=self.inverse.select(index), log_root=log_root)
