"""Several operators side by side: measurements of the same item, or one operator for each item."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.elementwise import Diagonal
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.operators.singular import SingularSystem, inverse
from pushforward.numerics.broadcast import entries_of


@dataclass(frozen=True, eq=False)
class Stack(LinearOperator):
    """Several measurements of the same x: y is (B, Σ m_i), the flattened ones one behind the other.

    `join` and `split` go between that and the parts. The singular system is kept where all parts have the same right
    vectors: s² = Σ s_i², as for several blurs, masks or noise levels of one image.
    """

    parts: tuple[LinearOperator, ...]
    shape: Shape

    def __post_init__(self) -> None:
        kinds = {part(part.zeros(self.shape)).is_complex() for part in self.parts}
        if len(kinds) != 1:
            raise UserError("a stack needs at least one operator, and all of them with real measurements, or complex")
        if len({part.items for part in self.parts} - {None}) > 1:
            raise UserError("the operators of a stack have parameters for different numbers of items")

    @property
    def x_shape(self) -> Shape:
        return self.shape

    @property
    def x_complex(self) -> bool | None:
        return next((part.x_complex for part in self.parts if part.x_complex is not None), None)

    @property
    def items(self) -> int | None:
        return next((part.items for part in self.parts if part.items is not None), None)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of the parts' measurements."""
        kept: tuple[Shape, ...] | None = self.__dict__.get("_y_shapes")
        if kept is None:
            kept = self.__dict__["_y_shapes"] = tuple(part.y_shape(self.shape) for part in self.parts)
        return kept

    def join(self, ys: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
        """The parts' measurements (B, …) as one (B, Σ m_i)."""
        return torch.cat([y.flatten(1) for y in ys], 1)

    def split(self, y: Tensor) -> list[Tensor]:
        """(B, Σ m_i) as the parts' measurements."""
        sizes = [math.prod(shape) for shape in self.shapes]
        if y.ndim != 2 or y.shape[1] != sum(sizes):
            raise UserError(f"a stack of {sizes} measured numbers was given {tuple(y.shape[1:])}: use `join`")
        return [part.reshape(len(y), *shape) for part, shape in zip(y.split(sizes, 1), self.shapes, strict=True)]

    def __call__(self, x: Tensor) -> Tensor:
        return self.join([part(x) for part in self.parts])

    def adjoint(self, y: Tensor) -> Tensor:
        adjoints = [part.adjoint(piece) for part, piece in zip(self.parts, self.split(y), strict=True)]
        return torch.stack(adjoints).sum(0)

    def measured(self, y: Tensor) -> Tensor:
        pairs = zip(self.parts, self.split(y), strict=True)
        return self.join([part.measured(piece) for part, piece in pairs])

    def _svd(self, shape: Shape) -> SingularSystem | None:
        systems = [part.svd(shape) for part in self.parts]
        known = [system for system in systems if system is not None]
        if len(known) < len(systems) or any(system.v != known[0].v for system in known):
            return None
        rounding = max(system.rounding for system in known)
        values = torch.broadcast_tensors(*[system.s for system in known])
        s = torch.stack(values).square().sum(0).sqrt()
        shares = [value * inverse(s) for value in values]
        lefts = tuple(
            system.u @ (Diagonal(share, each=True) if len(s) > 1 else Diagonal(share[0]))
            for system, share in zip(known, shares, strict=True)
        )
        return SingularSystem(Stack(lefts, tuple(s.shape[1:])), s, known[0].v, rounding)


def stack(*parts: LinearOperator, shape: Shape | None = None) -> Stack:
    """Several measurements of items of `shape` (default: the first shape that a part knows)."""
    known = shape or next((part.x_shape for part in parts if part.x_shape is not None), None)
    if known is None or not parts:
        raise UserError("a stack needs operators, and the shape of the items that they measure")
    return Stack(parts, tuple(known))


@dataclass(frozen=True, eq=False)
class Each(LinearOperator):
    """One operator per item: item i is measured by part i. For parameters that do not stack, such as geometries."""

    parts: tuple[LinearOperator, ...]
    index: Tensor | None = None
    """Which part measures which item, (B,); by default each the item of its number."""

    def __post_init__(self) -> None:
        if not self.parts or len({part.x_shape for part in self.parts}) > 1:
            raise UserError("one operator per item needs at least one, and all of items of the same shape")
        if self.index is None:
            object.__setattr__(self, "index", torch.arange(len(self.parts)))

    @property
    def _order(self) -> list[int]:
        return [] if self.index is None else [int(i) for i in self.index]

    @property
    def x_shape(self) -> Shape | None:
        return self.parts[0].x_shape

    @property
    def x_complex(self) -> bool | None:
        return self.parts[0].x_complex

    @property
    def items(self) -> int:
        return len(self._order)

    def select(self, index: Tensor) -> Each:
        order = entries_of(torch.as_tensor(self._order), index.cpu(), "operators")
        return Each(self.parts, order.expand(len(index)))

    def __call__(self, x: Tensor) -> Tensor:
        self._fits(x)
        return torch.cat([self.parts[i](x[k : k + 1]) for k, i in enumerate(self._order)])

    def adjoint(self, y: Tensor) -> Tensor:
        self._fits(y)
        return torch.cat([self.parts[i].adjoint(y[k : k + 1]) for k, i in enumerate(self._order)])

    def measured(self, y: Tensor) -> Tensor:
        y = y.expand(self.items, *y.shape[1:])
        return torch.cat([self.parts[i].measured(y[k : k + 1]) for k, i in enumerate(self._order)])

    def _fits(self, x: Tensor) -> None:
        if len(x) != self.items:
            raise UserError(f"{self.items} operators were given for {len(x)} items; one per item was expected")
