"""What a measurement does to an item: any map y = h(x), and the linear maps with their adjoints and inverses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.singular import SingularSystem
from pushforward.inverse.solve import cgls, conjugate_gradients, largest_singular_values
from pushforward.numerics.broadcast import Scalar, entries_of, expand

if TYPE_CHECKING:
    from pushforward.inverse.operators.units import Units

Shape = tuple[int, ...]
Result = TypeVar("Result")

_VALUES = 1 << 18
"""Values of the items that an iteration for norms is run on at once: it holds up to eighty such vectors."""


class Operator(ABC):
    """y = h(x) per item, (B, …) to (B, …); immutable. A subclass gives h and a pseudo-inverse h†.

    Tensors that belong to an operator are shared by all items, or have one entry per item along a leading axis of
    length B. They take the dtype of what they are applied to; `to` moves them to a device.
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """h(x). Raises UserError for items of a shape or kind that h does not take."""

    @abstractmethod
    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        """h†(y), with h(h†(h(x))) = h(x): (B, …) -> (B, …).

        Where many items have one measurement (phases that are lost), that of `near` (B, …) is taken up, if given.
        """

    @property
    def x_shape(self) -> Shape | None:
        """The shape of one item x; None where items of more than one shape are taken."""
        return None

    @property
    def x_complex(self) -> bool | None:
        """Whether items are complex; None where both kinds are taken."""
        return None

    @property
    def y_complex(self) -> bool | None:
        """Whether measurements are complex; None where they are if items are."""
        return self.x_complex if self.x_shape is None else self(self.zeros()).is_complex()

    @property
    def items(self) -> int | None:
        """How many items the operator has parameters of their own for; None where all share them."""
        return None

    @property
    def per_item(self) -> tuple[str, ...]:
        """The names of the fields that hold one entry per item."""
        return ()

    def measured(self, y: Tensor) -> Tensor:
        """y with zeros where its entries are no measurements (those that a mask leaves out)."""
        return y

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Jᵀ v at x, J = ∂h/∂x: (B, …) -> (B, …), by automatic differentiation."""
        with torch.inference_mode(False), torch.enable_grad():
            state = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self(state), state, v.detach().clone())
        return gradient

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """J u at x: (B, …) -> (B, …), as the derivative of the linear map v ↦ Jᵀ v."""
        with torch.inference_mode(False), torch.enable_grad():
            state = x.detach().clone().requires_grad_()
            out = self(state)
            v = torch.zeros_like(out, requires_grad=True)
            (gradient,) = torch.autograd.grad(out, state, v, create_graph=True)
            (image,) = torch.autograd.grad(gradient, v, u.detach().clone())
        return image

    def y_shape(self, shape: Shape | None = None) -> Shape:
        """The shape of one measurement of items of `shape` (default: `x_shape`)."""
        return tuple(self(self.zeros(shape)).shape[1:])

    def zeros(self, shape: Shape | None = None) -> Tensor:
        """Items of zeros (`items` or 1, *shape) in double precision, complex where the operator asks for that."""
        dtype = torch.complex128 if self.x_complex else torch.float64
        return torch.zeros(self.items or 1, *self.resolve(shape), dtype=dtype)

    def resolve(self, shape: Shape | None) -> Shape:
        """`shape`, or the operator's own. Raises UserError where neither is known or they differ."""
        own = self.x_shape
        if shape is None and own is None:
            raise UserError(
                f"{type(self).__name__} takes items of any shape: say which is meant, for example shape=(1, 28, 28)"
            )
        if shape is not None and own is not None and tuple(shape) != own:
            raise UserError(f"{type(self).__name__} takes items of shape {own}, and {tuple(shape)} was given")
        return tuple(shape) if own is None and shape is not None else own or ()

    def select(self, index: Tensor) -> Self:
        """The operator of the items `index` (M,), which may repeat: parameters that are shared stay as they are.

        Raises UserError where there are parameters for fewer items.
        """
        found = self._rebuilt(lambda tensor: entries_of(tensor, index, "operators' parameters"), self.per_item, index)
        if found is not self and self.items is not None:
            found.__dict__["_chosen"] = (self, index)  # what is found once for each item need not be found again
        return found

    def to(self, device: torch.device | str) -> Self:
        """The operator with its tensors on a device."""
        names = tuple(f.name for f in _fields(self) if isinstance(getattr(self, f.name), Tensor))
        return self._rebuilt(lambda tensor: tensor.to(device), names, device)

    def _rebuilt(self, change: Callable[[Tensor], Tensor], names: tuple[str, ...], argument: Any) -> Self:
        """A copy with `change` made to the tensors `names`, and the same asked of the operators that this one holds."""
        ask = "select" if isinstance(argument, Tensor) else "to"
        changes: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        for field in _fields(self):
            held = getattr(self, field.name)
            if isinstance(held, Operator):
                changes[field.name] = getattr(held, ask)(argument)
            elif isinstance(held, tuple) and held and all(isinstance(part, Operator) for part in held):
                changes[field.name] = tuple(getattr(part, ask)(argument) for part in held)
        return replace(self, **changes) if changes else self  # type: ignore[type-var]

    def in_units(self, units: Units) -> Operator:
        """The operator of x in model units, where this one acts on x in the user's: h(scale · x + offset).

        `units` is anything with a `scale` and an `offset`, such as the Format of a dataset. The layout of an item stays
        that of the model, (C, H, W) or (D,).
        """
        from pushforward.inverse.operators.units import Affine

        return self @ Affine.of(units)

    def __matmul__(self, inner: Operator) -> Operator:
        """h ∘ g."""
        from pushforward.inverse.operators.algebra import compose

        return compose(self, inner)


class LinearOperator(Operator):
    """y = A x per item. A subclass gives A and its adjoint; a singular system, where its structure has one, in `_svd`.

    Inner products are Re⟨·, ·⟩, so that maps between real and complex items have adjoints as well.
    """

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A* y, so that Re⟨A x, y⟩ = Re⟨x, A* y⟩."""

    @property
    def T(self) -> LinearOperator:
        """A* as an operator."""
        from pushforward.inverse.operators.algebra import Adjoint

        return Adjoint(self)

    @property
    def unitary(self) -> bool:
        """Whether A* A = A A* = I by construction."""
        return False

    @property
    def channelwise(self) -> bool:
        """Whether A does the same to each channel of (C, H, W) and nothing across channels."""
        return False

    def _svd(self, shape: Shape) -> SingularSystem | None:
        """The singular system for items of `shape`, None where the structure gives none."""
        return None

    def svd(self, shape: Shape | None = None) -> SingularSystem | None:
        """A = U diag(s) V* for items of `shape` (default: `x_shape`); None where the structure gives none. Kept."""
        shape = self.resolve(shape)
        kept: dict[Shape, SingularSystem | None] = self.__dict__.setdefault("_systems", {})
        if shape not in kept:
            # Made once, perhaps within inference, and used where gradients are taken as well.
            with torch.inference_mode(False), torch.no_grad():
                kept[shape] = self._svd(shape)
        return kept[shape]

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        return self(u)

    def solve(self, b: Tensor, prior: Scalar, noise: Scalar, tolerance: float | None = None) -> Tensor:
        """(prior·A A* + noise·I)⁻¹ b, the pseudo-inverse where noise = 0: b (B, …); scalars are floats or (B,).

        In closed form where there is a singular system, else by conjugate gradients to `tolerance`, relative.
        """
        system = self._system_of(b)
        if system is not None:
            return system.solve(b, prior, noise)
        return conjugate_gradients(
            lambda v: expand(prior, v) * self(self.adjoint(v)) + expand(noise, v) * v, b, tolerance
        )

    def solve_normal(self, b: Tensor, shift: Scalar, tolerance: float | None = None) -> Tensor:
        """(A* A + shift·I)⁻¹ b, the pseudo-inverse where shift = 0: b (B, …) of the shape of items."""
        system = self.svd(tuple(b.shape[1:]))
        if system is not None:
            return system.solve_normal(b, shift)
        return conjugate_gradients(lambda v: self.adjoint(self(v)) + expand(shift, v) * v, b, tolerance)

    def gain(self, residual: Tensor, prior: Scalar, noise: Scalar) -> Tensor:
        """A* (prior·A A* + noise·I)⁻¹ residual, with variances `prior` and `noise` (floats or one per item, (B,))."""
        system = self._system_of(residual)
        if system is not None:
            return system.gain(residual, prior, noise)
        return self.adjoint(self.solve(residual, prior, noise))

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        """A⁺ y, the shortest of the least-squares solutions; with `near`, the one nearest to it: near + A⁺(y − A near).

        In closed form where there is a singular system, else by CGLS until its normal equations hold to rounding.
        """
        if near is not None:
            return near + self.pseudo_inverse(y - self(near))
        system = self._system_of(y)
        return cgls(self, self.adjoint, y) if system is None else system.pseudo_inverse(y)

    def norm(self, shape: Shape | None = None) -> float:
        """The largest singular value, of all items where they differ."""
        return float(self.norms(shape).max())

    def norms(self, shape: Shape | None = None) -> Tensor:
        """The largest singular value of each item, (B,) or (1,) where all are alike, in double precision. Kept.

        In closed form where there is a singular system, else by Lanczos iteration, on some items at a time.
        """
        kept: dict[Shape, Tensor] = self.__dict__.setdefault("_norms", {})
        shape = self.resolve(shape)
        if shape not in kept:
            system, chosen = self.svd(shape), self.__dict__.get("_chosen")
            if system is not None:
                kept[shape] = system.s.flatten(1).amax(1).double()
            elif chosen is not None:
                whole, index = chosen
                norms = whole.norms(shape)
                kept[shape] = norms[index.to(norms.device)]
            else:
                kept[shape] = torch.cat([_norms(part, shape) for part in self._parts(shape)])
        return kept[shape]

    def _parts(self, shape: Shape) -> list[Self]:
        """The operator of some items at a time, where they differ: as many as an iteration may hold in memory."""
        most = max(1, _VALUES // math.prod(shape))
        if self.items is None or self.items <= most:
            return [self]
        return [self.select(index) for index in torch.arange(self.items).split(most)]

    def check(self, shape: Shape | None = None, tolerance: float = 1e-9) -> float:
        """The largest relative error of: linearity, the adjoint, the singular system; in double precision.

        Raises UserError, with the error, where one is above `tolerance`.
        """
        from pushforward.inverse.operators.check import check

        return check(self, self.resolve(shape), tolerance)

    @overload
    def __matmul__(self, inner: LinearOperator) -> LinearOperator: ...
    @overload
    def __matmul__(self, inner: Operator) -> Operator: ...
    def __matmul__(self, inner: Operator) -> Operator:
        return super().__matmul__(inner)

    def __mul__(self, factor: Scalar) -> LinearOperator:
        """factor · A; the factor is a float or one per item, (B,)."""
        from pushforward.inverse.operators.algebra import Scaled

        return Scaled(self, factor)

    __rmul__ = __mul__

    def _system_of(self, y: Tensor) -> SingularSystem | None:
        shape = self.x_shape
        if shape is None:
            # Which items have such measurements is learned from the adjoint, once for each shape.
            kept: dict[Shape, Shape] = self.__dict__.setdefault("_shapes", {})
            key = tuple(y.shape[1:])
            if key not in kept:
                with torch.no_grad():
                    kept[key] = tuple(self.adjoint(torch.zeros_like(y)).shape[1:])
            shape = kept[key]
        return self.svd(shape)


def of_as_many(items: int | None, x: Tensor) -> None:
    """Raises UserError where an operator has parameters for `items` items, and the batch x holds another number."""
    if items is not None and items != len(x) and 1 not in (items, len(x)):
        raise UserError(f"this operator has parameters for {items} items, and {len(x)} were given: one for each")


def told(operator: Operator) -> str:
    """What an operator is, as its user made it: without the factors and units that were put around it."""
    parts = [getattr(operator, name, None) for name in ("outer", "inner", "operator")]
    held = [part for part in parts if isinstance(part, Operator)]
    name = type(operator).__name__
    if not held:
        return name
    names = [found for found in map(told, held) if found not in ("Affine", "Identity")]
    within = " @ ".join(names) or "Identity"
    return within if name in ("Scaled", "Product", "Composed") else f"{name}({within})"


def _fields(operator: Operator) -> tuple[Any, ...]:
    return fields(operator) if is_dataclass(operator) else ()


def _norms(operator: LinearOperator, shape: Shape) -> Tensor:
    return largest_singular_values(operator, operator.adjoint, operator.zeros(shape)).double()
