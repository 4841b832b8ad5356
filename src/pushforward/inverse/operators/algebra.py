"""Operators made of operators: compositions, adjoints, multiples. Singular systems are kept where they can be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.colour import ColourMix
from pushforward.inverse.operators.dense import Matrix, precise
from pushforward.inverse.operators.elementwise import Identity
from pushforward.inverse.operators.operator import LinearOperator, Operator, Shape, of_as_many
from pushforward.inverse.operators.singular import SingularSystem
from pushforward.numerics.broadcast import Scalar, expand

_DECOMPOSED = 1 << 31
"""Multiplications, about, for which a product with a matrix is decomposed unasked: seconds."""


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
    - one mixes colours and the other does the same to every channel: their values multiply;
    - one is a dense matrix and all items share both: so is their product.
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
        return self._aligned(shape, between) or self._across_channels(shape) or self._dense(shape)

    def _aligned(self, shape: Shape, between: Shape) -> SingularSystem | None:
        inner = self.inner.svd(shape)
        outer = None if inner is None else self.outer.svd(between)
        if inner is None or outer is None or inner.u != outer.v:
            return None
        return SingularSystem(outer.u, outer.s * inner.s, inner.v, max(outer.rounding, inner.rounding))

    def _dense(self, shape: Shape) -> SingularSystem | None:
        """Of a matrix M: that of M B, from B* of its rows, or of A M, from A of its columns."""
        outer, inner = self.outer, self.inner
        if self.items is not None or not isinstance(outer if isinstance(outer, Matrix) else inner, Matrix):
            return None
        if isinstance(outer, Matrix):
            rows = precise(outer.matrix).conj().resolve_conj().reshape(-1, *(outer.shape or ()))
            whole, image = inner.adjoint(rows).conj().flatten(1), outer.image
        else:
            assert isinstance(inner, Matrix)
            rows = precise(inner.matrix).mT.reshape(-1, *(inner.image or ()))
            columns = outer(rows)
            whole, image = columns.flatten(1).mT, tuple(columns.shape[1:])
        # Between real and complex items it is no matrix of numbers.
        if whole.is_complex() != rows.is_complex() or min(whole.shape) * whole.numel() > _DECOMPOSED:
            return None
        return Matrix(whole.resolve_conj().contiguous(), shape, image).svd(shape)

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
        factor = self.factor
        try:
            values = torch.as_tensor(factor)
        except (TypeError, ValueError, RuntimeError):
            values = torch.full((), torch.nan)
        if values.ndim > 1 or values.is_complex() or not bool(torch.isfinite(values).all()):
            raise UserError(f"an operator is multiplied by a real number, or by one per item; got {factor}")
        if not isinstance(factor, float | Tensor):
            object.__setattr__(self, "factor", values.double() if values.ndim else float(values))

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
        return self._times(self.operator(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(self._times(y))

    def _times(self, y: Tensor) -> Tensor:
        if isinstance(self.factor, Tensor) and self.factor.ndim == 1:
            of_as_many(len(self.factor), y)
        return expand(self.factor, y) * y

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
