"""Operators of the user's own: callables, `matvec` and `rmatvec` (SciPy, PyLops), `A` and `A_adjoint` (DeepInverse)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import LinearOperator, Operator, Shape
from pushforward.inverse.operators.pair import with_adjoint

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Function(LinearOperator):
    """A linear map given by a callable on batches (B, *shape); its adjoint given too, or taken by differentiation."""

    forward: Map
    shape: Shape
    backward: Map | None = None
    complex_items: bool = False

    @property
    def x_shape(self) -> Shape:
        return tuple(self.shape)

    @property
    def x_complex(self) -> bool:
        return self.complex_items

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.x_shape:
            raise UserError(f"this operator takes items of shape {self.x_shape}, and {tuple(x.shape[1:])} was given")
        if x.is_complex() and not self.complex_items:
            raise UserError("this operator acts on real items, and complex ones were given: say complex_items=True")
        return with_adjoint(x, self.forward, self._back)

    def adjoint(self, y: Tensor) -> Tensor:
        return with_adjoint(y, self._back, self.forward)

    def _back(self, y: Tensor) -> Tensor:
        if self.backward is not None:
            x = self.backward(y)
            # Of real items the inner product is Re⟨·, ·⟩, so that the adjoint is the real part of A^H y.
            return x.real.contiguous() if x.is_complex() and not self.complex_items else x
        dtype = _paired(torch.empty((), dtype=y.dtype).real.dtype, self.complex_items)
        with torch.inference_mode(False), torch.enable_grad():
            state = torch.zeros(len(y), *self.shape, dtype=dtype, device=y.device, requires_grad=True)
            (x,) = torch.autograd.grad(self.forward(state), state, y.detach().clone())
        return x


@dataclass(frozen=True, eq=False)
class NonLinear(Operator):
    """A map given by a callable on batches, and its pseudo-inverse where there is one; derivatives by autograd."""

    forward: Map
    inverse: Map | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        if self.inverse is None:
            raise UserError("this operator was given without a pseudo-inverse: NonLinear(forward, inverse)")
        return self.inverse(y)


@dataclass(frozen=True, eq=False)
class _Arrays:
    """`matvec` or `rmatvec` on NumPy vectors as a map of batches of tensors, one item after the other."""

    times: Callable[[np.ndarray], np.ndarray]
    shape: Shape

    def __call__(self, x: Tensor) -> Tensor:
        rows = [np.asarray(self.times(row)) for row in x.detach().cpu().resolve_conj().reshape(len(x), -1).numpy()]
        y = torch.from_numpy(np.stack(rows)).reshape(len(x), *self.shape)
        return y.to(x.device, _paired(torch.empty((), dtype=x.dtype).real.dtype, y.is_complex()))


@dataclass(frozen=True, eq=False)
class _In:
    """A map that works in one precision, made to take and give any."""

    inner: Map
    dtype: torch.dtype

    def __call__(self, x: Tensor) -> Tensor:
        y = self.inner(x.to(_paired(self.dtype, x.is_complex())))
        precision = torch.empty((), dtype=x.dtype).real.dtype
        return y.to(_paired(precision, y.is_complex()))


def _paired(dtype: torch.dtype, is_complex: bool) -> torch.dtype:
    """The complex dtype of a real one, where asked for."""
    return torch.complex(*torch.zeros(2, 1, dtype=dtype)).dtype if is_complex else dtype


def as_operator(
    given: Any,
    shape: Shape | None = None,
    *,
    complex_items: bool = False,
    dtype: torch.dtype | None = None,
    tolerance: float | None = 1e-6,
) -> LinearOperator:
    """Any linear operator of items of `shape` as one of ours, proved by `check`.

    Taken are: a LinearOperator; an object with `A` and `A_adjoint` on batches of tensors; one with `matvec` and
    `rmatvec` on NumPy vectors (of `shape`, or its own `dims` and `dimsd`); a callable on batches of tensors, whose
    adjoint is taken by differentiation. An operator that works in one precision alone is told by `dtype`
    (torch.float32, with a tolerance of about 1e-4), else it is used in that of the items. With tolerance=None nothing
    is checked. Raises UserError, which names the relative error, for an adjoint that is not one.

    >>> import torch
    >>> means = as_operator(lambda x: (x[:, ::2] + x[:, 1::2]) / 2, shape=(4,))
    >>> means.adjoint(torch.tensor([[1.0, 3.0]]))
    tensor([[0.5000, 0.5000, 1.5000, 1.5000]])
    >>> round(means.norm(), 4)
    0.7071
    """
    operator = _wrapped(given, shape, complex_items)
    if dtype is not None and isinstance(operator, Function):
        back = None if operator.backward is None else _In(operator.backward, dtype)
        operator = replace(operator, forward=_In(operator.forward, dtype), backward=back)
    if tolerance is not None:
        operator.check(shape, tolerance)
    return operator


def _wrapped(given: Any, shape: Shape | None, complex_items: bool) -> LinearOperator:
    if isinstance(given, LinearOperator):
        return given
    if hasattr(given, "matvec") and hasattr(given, "rmatvec"):
        return _of_vectors(given, shape, complex_items)
    if shape is None:
        raise UserError("say of what shape one item is, for example as_operator(A, shape=(1, 28, 28))")
    if hasattr(given, "A") and hasattr(given, "A_adjoint"):
        return Function(given.A, tuple(shape), given.A_adjoint, complex_items)
    if callable(given):
        return Function(given, tuple(shape), None, complex_items)
    raise UserError(
        f"an operator is a callable, or has A and A_adjoint, or matvec and rmatvec; got {type(given).__name__}"
    )


def _of_vectors(given: Any, shape: Shape | None, complex_items: bool) -> LinearOperator:
    m, n = given.shape
    item = tuple(shape) if shape is not None else tuple(getattr(given, "dims", (n,)))
    image = tuple(getattr(given, "dimsd", (m,)))
    if int(np.prod(item)) != n:
        raise UserError(f"an operator of {n} numbers does not take items of shape {item}")
    ahead, back = _Arrays(given.matvec, image), _Arrays(given.rmatvec, item)
    return Function(ahead, item, back, complex_items)
