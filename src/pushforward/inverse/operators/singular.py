"""Singular systems A = U diag(s) V*, and all that follows from them in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.numerics.broadcast import Scalar, expand

if TYPE_CHECKING:
    from pushforward.inverse.operators.operator import LinearOperator


@dataclass(frozen=True, eq=False)
class SingularSystem:
    """A = U diag(s) V* per item, in no particular order and perhaps with zeros among s.

    `u` maps coefficients (B, …) to measurements and `v` to items, isometries both where s > 0 (V*V = I everywhere);
    `s` has the shape of coefficients behind an axis of 1, or of B where items differ. What V does not reach,
    x − V V* x, is not measured. Singular values below `rounding`·eps of the largest are rounding, and zero.
    """

    u: LinearOperator
    s: Tensor
    v: LinearOperator
    rounding: float = 8.0

    def values(self, like: Tensor) -> Tensor:
        """s in the precision and on the device of `like`, without what is rounding there."""
        kept: dict[object, Tensor] = self.__dict__.setdefault("_kept", {})
        key = (like.dtype, like.device)
        if key not in kept:
            with torch.inference_mode(False):
                s = self.s.clone().to(device=like.device, dtype=torch.empty((), dtype=like.dtype).real.dtype)
                least = self.rounding * torch.finfo(s.dtype).eps * s.flatten(1).amax(1)
                kept[key] = torch.where(s > least.reshape(-1, *[1] * (s.ndim - 1)), s, 0)
        return kept[key]

    def apply(self, x: Tensor) -> Tensor:
        """U diag(s) V* x."""
        return self.u(self.values(x) * self.v.adjoint(x))

    def gain(self, residual: Tensor, prior: Scalar, noise: Scalar) -> Tensor:
        """A* (prior·A A* + noise)⁻¹ residual = V diag(s/(prior·s² + noise)) U* residual."""
        s, part = self.values(residual), self.u.adjoint(residual)
        return self.v(s * inverse(_real(prior, s, part) * s * s + _real(noise, s, part)) * part)

    def solve(self, b: Tensor, prior: Scalar, noise: Scalar) -> Tensor:
        """(prior·A A* + noise)⁻¹ b; the pseudo-inverse where noise = 0."""
        s, part = self.values(b), self.u.adjoint(b)
        part = torch.where(s > 0, part, 0)
        inner = inverse(_real(prior, s, part) * s * s + _real(noise, s, part)) * part
        return self.u(inner) + inverse(_real(noise, b.real, b)) * (b - self.u(part))

    def solve_normal(self, b: Tensor, shift: Scalar) -> Tensor:
        """(A* A + shift)⁻¹ b; the pseudo-inverse where shift = 0."""
        s, part = self.values(b), self.v.adjoint(b)
        inner = inverse(s * s + _real(shift, s, part)) * part
        return self.v(inner) + inverse(_real(shift, b.real, b)) * (b - self.v(part))

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """A⁺ y = V diag(1/s) U* y."""
        part = self.u.adjoint(y)
        return self.v(inverse(self.values(y)) * part)


def _real(scalar: Scalar, like: Tensor, batch: Tensor) -> Tensor:
    """A float or one number per item, as a real tensor that multiplies `batch` (B, …)."""
    shaped = expand(scalar, batch.real if batch.is_complex() else batch)
    return torch.as_tensor(shaped, dtype=like.dtype, device=like.device)


def inverse(x: Tensor) -> Tensor:
    """1/x, and 0 where x = 0."""
    return torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)
