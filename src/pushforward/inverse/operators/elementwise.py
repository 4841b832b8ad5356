"""Operators that act on each number alone: the identity, a mask, weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.operators.singular import SingularSystem


def fitted(values: Tensor, x: Tensor, what: str) -> Tensor:
    """`values` if they broadcast to the shape of `x` (B, …). Raises UserError otherwise."""
    # By plain comparison: torch.broadcast_shapes takes longer than the product of a small picture with its mask.
    missing = x.ndim - values.ndim
    if missing < 0 or any(n not in (1, m) for n, m in zip(values.shape, x.shape[missing:], strict=True)):
        raise UserError(
            f"{what} of shape {tuple(values.shape)} does not fit items of shape {tuple(x.shape[1:])}; "
            "give it the shape of one item"
        )
    return values.to(x.device)


def _with_items(values: Tensor, shape: Shape) -> Tensor:
    """`values` broadcast to (1 or B, *shape)."""
    items = len(values) if values.ndim > len(shape) else 1
    return values.expand(items, *shape)


@dataclass(frozen=True)
class Identity(LinearOperator):
    """y = x."""

    @property
    def unitary(self) -> bool:
        return True

    @property
    def channelwise(self) -> bool:
        return True

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def _svd(self, shape: Shape) -> SingularSystem:
        return SingularSystem(self, torch.ones(1, *shape, dtype=torch.float64), self)


@dataclass(frozen=True, eq=False)
class Mask(LinearOperator):
    """y = m ⊙ x: what the mask keeps is measured, all else is zero (and may be NaN in what was measured).

    `mask` holds 1 (measured) and 0, of the shape of one item or broadcastable to it, e.g. (H, W) for (C, H, W); with a
    leading axis of the batch's length it is a mask per sample. s = m, U = V = I.
    """

    mask: Tensor
    each: bool = False
    """Whether the leading axis of the mask is that of the items; understood for four axes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "each", self.each or self.mask.ndim > 3)
        if self.mask.dtype != torch.bool:
            if not bool(((self.mask == 0) | (self.mask == 1)).all()):
                raise UserError("a mask holds 1 where a value is measured and 0 elsewhere; got other numbers")
            object.__setattr__(self, "mask", self.mask.bool())

    @property
    def items(self) -> int | None:
        return len(self.mask) if self.each else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("mask",) if self.each else ()

    @property
    def channelwise(self) -> bool:
        return not self.each and (self.mask.ndim <= 2 or self.mask.shape[-3] == 1)

    def __call__(self, x: Tensor) -> Tensor:
        return x * fitted(self.mask, x, "a mask").to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)

    def measured(self, y: Tensor) -> Tensor:
        if self.items and len(y) == 1:
            y = y.expand(self.items, *y.shape[1:])
        return torch.where(fitted(self.mask, y, "a mask"), y, 0)

    def _svd(self, shape: Shape) -> SingularSystem:
        return SingularSystem(Identity(), _with_items(self.mask, shape).double(), Identity())


@dataclass(frozen=True, eq=False)
class Diagonal(LinearOperator):
    """y = w ⊙ x with real or complex weights, of the shape of one item or broadcastable to it; or (B, *that).

    s = |w|, U = w/|w|, V = I. Complex weights are for complex items.
    """

    weights: Tensor
    each: bool = False
    """Whether the leading axis of the weights is that of the items."""

    def __post_init__(self) -> None:
        if not bool(torch.isfinite(self.weights).all()):
            raise UserError("the weights of a Diagonal must be finite numbers")

    @property
    def items(self) -> int | None:
        return len(self.weights) if self.each else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("weights",) if self.each else ()

    @property
    def x_complex(self) -> bool | None:
        return True if self.weights.is_complex() else None

    @property
    def channelwise(self) -> bool:
        return not self.each and (self.weights.ndim <= 2 or self.weights.shape[-3] == 1)

    def __call__(self, x: Tensor) -> Tensor:
        if self.weights.is_complex() and not x.is_complex():
            raise UserError("complex weights act on complex items, and real ones were given: put RealAsComplex first")
        return x * fitted(self.weights, x, "weights").to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        return y * fitted(self.weights, y, "weights").to(y.dtype).conj()

    def _svd(self, shape: Shape) -> SingularSystem:
        size = self.weights.abs()
        sign = torch.where(size > 0, self.weights / torch.where(size > 0, size, 1), 1)
        # Weights of at least 0, as units have them, turn nothing: a mask behind them keeps its singular system.
        plain = not sign.is_complex() and bool((sign > 0).all())
        left = Identity() if plain else Diagonal(sign, self.each)
        return SingularSystem(left, _with_items(size, shape).double(), Identity())
