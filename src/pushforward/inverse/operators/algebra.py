"""Operators made of operators: compositions, stacks, multiples, one operator per item. Singular systems are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.colour import ColourMix
from pushforward.inverse.operators.elementwise import Diagonal, Identity
from pushforward.inverse.operators.operator import LinearOperator, Operator, Shape
from pushforward.inverse.operators.singular import SingularSystem, inverse
from pushforward.numerics.broadcast import Scalar, expand


def compose(outer: Operator, inner: Operator) -> Operator:
    """outer ∘ inner, linear where both are."""
    if isinstance(inner, Identity):
        return outer
    if isinstance(outer, Identity):
        return inner
    if isinstance(outer, LinearOperator) and isinstance(inner, LinearOperator):
        # Factors go to the front, where they hide no structure.
        if isinstance(outer, Scaled):
            return Scaled(outer.operator @ inner, outer.factor)
        return Scaled(outer @ inner.operator, inner.factor) if isinstance(inner, Scaled) else Product(outer, inner)
    return Composed(outer, inner)


@dataclass(frozen=True, eq=False)
class _Pair:
    """What compositions share."""

    outer: Operator
    inner: Operator

    def __post_init__(self) -> None:
        if len({n for n in (self.outer.items, self.inner.items) if n is not None}) > 1:
            raise UserError(
                f"operators with parameters for {self.outer.items} and for {self.inner.items} items cannot be composed"
            )

    @property
    def x_shape(self) -> Shape | None:
        if self.inner.x_shape is not None or self.outer.x_shape is None:
            return self.inner.x_shape
        # Where the inner operator takes any shape and keeps it, the outer one says what it must be.
        try:
            kept = self.inner.y_shape(self.outer.x_shape) == self.outer.x_shape
        except UserError:
            return None
        return self.outer.x_shape if kept else None

    @property
    def x_complex(self) -> bool | None:
        inner = self.inner.x_complex
        return self.outer.x_complex if inner is None else inner

    @property
    def y_complex(self) -> bool | None:
        outer = self.outer.y_complex
        return self.inner.y_complex if outer is None else outer

    @property
    def items(self) -> int | None:
        return self.inner.items or self.outer.items

    def __call__(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def measured(self, y: Tensor) -> Tensor:
        return self.outer.measured(y)


class Composed(_Pair, Operator):
    """h ∘ g, with the chain rule of their derivatives and g† ∘ h†."""

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.inner.vjp(x, self.outer.vjp(self.inner(x), v))

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        return self.outer.jvp(self.inner(x), self.inner.jvp(x, u))

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        within = self.outer.pseudo_inverse(y, None if near is None else self.inner(near))
        return self.inner.pseudo_inverse(within, near)


@dataclass(frozen=True, eq=False)
class Product(_Pair, LinearOperator):
    """A B. Its singular system is kept where

    - one of the two is unitary: (A, s, B* V) and (A U, s, V);
    - the left vectors of B are the right vectors of A, as for masks and weights of Fourier coefficients;
    - one mixes colours and the other does the same to every channel: their values multiply.
    """

    outer: LinearOperator
    inner: LinearOperator

    @property
    def unitary(self) -> bool:
        return self.outer.unitary and self.inner.unitary

    @property
    def channelwise(self) -> bool:
        return self.outer.channelwise and self.inner.channelwise

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def _svd(self, shape: Shape) -> SingularSystem | None:
        between = self.inner.y_shape(shape)
        if self.inner.unitary:
            outer = self.outer.svd(between)
            return outer and SingularSystem(outer.u, outer.s, self.inner.T @ outer.v, outer.rounding)
        if self.outer.unitary:
            inner = self.inner.svd(shape)
            return inner and SingularSystem(self.outer @ inner.u, inner.s, inner.v, inner.rounding)
        return self._aligned(shape, between) or self._across_channels(shape)

    def _aligned(self, shape: Shape, between: Shape) -> SingularSystem | None:
        inner = self.inner.svd(shape)
        outer = None if inner is None else self.outer.svd(between)
        if inner is None or outer is None or inner.u != outer.v:
            return None
        return SingularSystem(outer.u, outer.s * inner.s, inner.v, max(outer.rounding, inner.rounding))

    def _across_channels(self, shape: Shape) -> SingularSystem | None:
        """A = M ⊗ P: both are applied in either order, so U = U_M U_P, V = V_M V_P, s = s_M s_P."""
        first, second = (self.outer, self.inner) if isinstance(self.outer, ColourMix) else (self.inner, self.outer)
        if not isinstance(first, ColourMix) or not second.channelwise or len(shape) != 3:
            return None
        colours = first.svd(shape if first is self.inner else self.inner.y_shape(shape))
        if colours is None:
            return None
        count = colours.s.shape[1]
        space = second.svd((count, *shape[1:]))
        if space is None:
            return None
        rounding = max(space.rounding, colours.rounding)
        return SingularSystem(colours.u @ space.u, colours.s[..., :1, :1] * space.s, colours.v @ space.v, rounding)


@dataclass(frozen=True, eq=False)
class Adjoint(LinearOperator):
    """A* as an operator: U and V change places."""

    operator: LinearOperator

    @property
    def items(self) -> int | None:
        return self.operator.items

    @property
    def x_shape(self) -> Shape | None:
        return self.operator.y_shape() if self.operator.x_shape is not None else None

    @property
    def x_complex(self) -> bool | None:
        return self.operator.y_complex

    @property
    def y_complex(self) -> bool | None:
        return self.operator.x_complex

    @property
    def unitary(self) -> bool:
        return self.operator.unitary

    @property
    def channelwise(self) -> bool:
        return self.operator.channelwise

    @property
    def T(self) -> LinearOperator:
        return self.operator

    def __call__(self, x: Tensor) -> Tensor:
        return self.operator.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator(y)

    def _svd(self, shape: Shape) -> SingularSystem | None:
        system = self.operator.svd(self.y_shape(shape))
        return system and SingularSystem(system.v, system.s, system.u, system.rounding)


@dataclass(frozen=True, eq=False)
class Scaled(LinearOperator):
    """c A, with a float c or one per item, (B,)."""

    operator: LinearOperator
    factor: Scalar

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.factor)
        if values.ndim > 1 or values.is_complex() or not bool(torch.isfinite(values).all()):
            raise UserError(f"an operator is multiplied by a real number, or by one per item; got {self.factor}")

    @property
    def items(self) -> int | None:
        factor = self.factor
        return len(factor) if isinstance(factor, Tensor) and factor.ndim == 1 else self.operator.items

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("factor",) if self._each else ()

    @property
    def _each(self) -> bool:
        return isinstance(self.factor, Tensor) and self.factor.ndim == 1

    @property
    def x_shape(self) -> Shape | None:
        return self.operator.x_shape

    @property
    def x_complex(self) -> bool | None:
        return self.operator.x_complex

    @property
    def y_complex(self) -> bool | None:
        return self.operator.y_complex

    @property
    def channelwise(self) -> bool:
        return self.operator.channelwise and not self._each

    def __call__(self, x: Tensor) -> Tensor:
        y = self.operator(x)
        return expand(self.factor, y) * y

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(expand(self.factor, y) * y)

    def measured(self, y: Tensor) -> Tensor:
        return self.operator.measured(y)

    def _svd(self, shape: Shape) -> SingularSystem | None:
        system = self.operator.svd(shape)
        if system is None:
            return None
        factor = torch.as_tensor(self.factor, dtype=torch.float64)
        sign = torch.where(factor < 0, -1.0, 1.0).double()
        s = expand(factor.abs(), system.s) * system.s if self._each else factor.abs() * system.s
        u = system.u if bool((sign > 0).all()) else Scaled(system.u, sign if self._each else float(sign))
        return SingularSystem(u, s, system.v, system.rounding)


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
        return Each(self.parts, torch.as_tensor(self._order)[index.cpu()])

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
