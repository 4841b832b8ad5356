"""Measurements that are not linear, each with its pseudo-inverse h†: h(h†(h(x))) = h(x)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.fourier import real_items
from pushforward.inverse.operators.operator import LinearOperator, Operator, Shape


class _After:
    """What operators that act on A x share."""

    operator: LinearOperator

    @property
    def x_shape(self) -> Shape | None:
        return self.operator.x_shape

    @property
    def x_complex(self) -> bool | None:
        return self.operator.x_complex

    @property
    def items(self) -> int | None:
        return self.operator.items

    def measured(self, y: Tensor) -> Tensor:
        return self.operator.measured(y)


@dataclass(frozen=True, eq=False)
class Magnitude(_After, Operator):
    """y = |A x|: phase retrieval where A is a Fourier transform or another complex operator.

    h†(y) = A⁺(y · phase of A x') with x' the item `near` (phase 0 without one): the nearest to x' of those items with
    A x = y · phase. The derivative at 0 is 0.
    """

    operator: LinearOperator

    @property
    def y_complex(self) -> bool:
        return False

    def __call__(self, x: Tensor) -> Tensor:
        return self.operator(x).abs()

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.operator.adjoint(v * _phase(self.operator(x), 0.0))

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        if near is not None:
            return self.operator.pseudo_inverse(y * _phase(self.operator(near), 1.0), near)
        return self.operator.pseudo_inverse(torch.complex(y, torch.zeros_like(y)) if self.operator.y_complex else y)


def _phase(z: Tensor, at_zero: float) -> Tensor:
    size = z.abs()
    return torch.where(size > 0, z / torch.where(size > 0, size, 1), at_zero)


@dataclass(frozen=True, eq=False)
class Clip(Operator):
    """y = min(max(gain · x, low), high): a sensor that saturates; with a gain above 1 the HDR problem.

    h†(y) = y / gain. The derivative is `gain` within the range and 0 where it saturates.
    """

    low: float
    high: float
    gain: float = 1.0

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.gain > 0):
            raise UserError(
                f"a sensor that saturates needs low < high and a gain above 0; got {self.low}, {self.high}, {self.gain}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        real_items(x, "a sensor that saturates")
        return (self.gain * x).clamp(self.low, self.high)

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        """With `near`, its value where the sensor saturated and `near` says no less: the nearest item with h(x) = y."""
        plain = y.clamp(self.low, self.high) / self.gain
        if near is None:
            return plain
        above = (y >= self.high) & (self.gain * near >= self.high)
        below = (y <= self.low) & (self.gain * near <= self.low)
        return torch.where(above | below, near, plain)


class _Rounded(torch.autograd.Function):
    """Rounding to integers, the derivative that of the identity (straight through)."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0]


def rounded(x: Tensor, straight_through: bool) -> Tensor:
    """Nearest integers, with the derivative of the identity or with the true one, 0."""
    return _Rounded.apply(x) if straight_through else x.round()


@dataclass(frozen=True, eq=False)
class Quantise(Operator):
    """y = the nearest of `levels` values evenly from `low` to `high`: a camera of few bits. h†(y) = y.

    Its derivative is 0 almost everywhere; with `straight_through` that of clipping is used in its place.
    """

    levels: int
    low: float
    high: float
    straight_through: bool = False

    def __post_init__(self) -> None:
        if self.levels < 2 or not self.low < self.high:
            raise UserError(
                f"quantisation needs at least two levels and low < high; got {self.levels}, {self.low}, {self.high}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        real_items(x, "quantisation")
        step = (self.high - self.low) / (self.levels - 1)
        place = ((x - self.low) / step).clamp(0, self.levels - 1)
        return self.low + step * rounded(place, self.straight_through)

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        """With `near`, the nearest item of the same level."""
        if near is None:
            return y
        return torch.where(self(near) == self(y), near, y)


@dataclass(frozen=True, eq=False)
class Transmission(_After, Operator):
    """y = I exp(−A x): what a tomograph counts, I photons per ray without an item; with `Poisson` the CT likelihood.

    h†(y) = A⁺(−log(y / I)), with counts below `least` taken as `least`: a ray that lets none through has no length.
    """

    operator: LinearOperator
    intensity: float
    least: float = 0.5

    def __post_init__(self) -> None:
        if not (self.intensity > 0 and self.least > 0):
            raise UserError(f"the intensity of a beam is above 0; got {self.intensity}")

    def __call__(self, x: Tensor) -> Tensor:
        return self.intensity * torch.exp(-self.operator(x))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return -self.operator.adjoint(self(x) * v)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        return -self(x) * self.operator(u)

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        # Counts are scaled by the beam: what is least of 10⁴ photons is nothing of one.
        least = min(self.least, self.least * self.intensity)
        return self.operator.pseudo_inverse(-torch.log(y.clamp(min=least) / self.intensity), near)
