"""Units, made explicit: nothing is doubled or halved behind a [0, 1] or a [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.algebra import Scaled
from pushforward.inverse.operators.elementwise import Diagonal, Identity, fitted
from pushforward.inverse.operators.operator import LinearOperator, Operator


class Units(Protocol):
    """value in the user's units = scale · value in model units + offset, one of each or one per column."""

    @property
    def scale(self) -> float | Sequence[float]: ...
    @property
    def offset(self) -> float | Sequence[float]: ...


@dataclass(frozen=True, eq=False)
class Affine(Operator):
    """y = a ⊙ x + b, its pseudo-inverse the inverse: from model units to the user's."""

    scale: Tensor
    offset: Tensor

    def __post_init__(self) -> None:
        if not bool((torch.isfinite(self.scale) & (self.scale != 0)).all() and torch.isfinite(self.offset).all()):
            raise UserError("units need a finite scale other than 0 and a finite offset")

    @staticmethod
    def of(units: Units) -> Affine:
        scale, offset = (torch.as_tensor(value, dtype=torch.float64) for value in (units.scale, units.offset))
        return Affine(scale, offset)

    @property
    def linear(self) -> LinearOperator:
        """x ↦ a ⊙ x."""
        return Diagonal(self.scale) if self.scale.ndim else Scaled(Identity(), float(self.scale))

    def __call__(self, x: Tensor) -> Tensor:
        return x * self._like(self.scale, x) + self._like(self.offset, x)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.linear.adjoint(v)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        return self.linear(u)

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        return (y - self._like(self.offset, y)) / self._like(self.scale, y)

    @staticmethod
    def _like(values: Tensor, x: Tensor) -> Tensor:
        return fitted(values, x, "a scale or offset").to(x.dtype)
