"""What is known of x: log p(y | x) as a function of x, with the measurement y bound to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import Operator
from pushforward.inverse.operators.units import Units
from pushforward.inverse.solve import squares
from pushforward.numerics.broadcast import entries_of, sum_per_sample
from pushforward.numerics.random import Draws

Simulated = Tensor | tuple["Simulated", ...]
"""A measurement, or one for each of several."""


class Likelihood(ABC):
    """log p(y | x) per item, in nats, with its gradient; y is bound, so whoever uses it needs neither y nor h."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """(B, …) -> (B,)."""

    @property
    def items(self) -> int | None:
        """How many items it has measurements of; None where what is known is known of all."""
        return None

    def of_items(self, count: int) -> None:
        """Raises UserError where it has measurements of another number of items than `count`."""
        if self.items not in (None, count):
            raise UserError(f"there are measurements of {self.items} items, and items = {count} was asked for")

    @abstractmethod
    def simulate(self, x: Tensor, draws: Draws) -> Simulated:
        """A measurement of each x under the same law: (B, …)."""

    @abstractmethod
    def in_units(self, units: Units) -> Likelihood:
        """The likelihood of x in model units, where this one is of x in the user's (a Format, for example)."""

    @abstractmethod
    def select(self, index: Tensor) -> Likelihood:
        """The likelihood of the items `index` (M,), which may repeat: many samples of each measurement in one batch."""

    def gradient(self, x: Tensor) -> Tensor:
        """∇_x log p(y | x): (B, …) -> (B, …)."""
        with torch.inference_mode(False), torch.enable_grad():
            state = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_prob(state).sum(), state)
        return gradient


@dataclass(frozen=True, eq=False)
class Measurement(Likelihood):
    """What likelihoods of y given h(x) share. `y` holds one measurement per item (B, …), or one for all (1, …).

    Raises UserError for a measurement that is not finite where the operator measures, that is complex where h(x) is
    real or the other way round, or of another shape than h(x).
    """

    operator: Operator
    y: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.operator, Operator):
            raise UserError(
                f"a measurement is made by an operator, and a {type(self.operator).__name__} was given: as_operator() "
                "makes one of a callable, of matvec and rmatvec, and of A and A_adjoint"
            )
        object.__setattr__(self, "y", _as_items(self.y))
        if not (self.y.is_floating_point() or self.y.is_complex()):
            object.__setattr__(self, "y", self.y.double())
        if self.operator.x_shape is not None:
            self._fits(self.operator(self.operator.zeros()))
        y = self.operator.measured(self.y)
        wrong = ~torch.isfinite(torch.view_as_real(y).sum(-1) if y.is_complex() else y)
        if bool(wrong.any()):
            first = tuple(int(i) for i in wrong.nonzero()[0])
            raise UserError(
                f"the measurement is not finite in {int(wrong.sum())} of {wrong.numel()} places, first in {first}: "
                "leave out what was not measured by composing the operator with a Mask"
            )
        object.__setattr__(self, "y", y)

    @property
    def items(self) -> int | None:
        count = max(len(self.y), self.operator.items or 1)
        return count if count > 1 else None

    def _fits(self, predicted: Tensor) -> None:
        if self.y.is_complex() != predicted.is_complex():
            kinds = ("complex", "real") if self.y.is_complex() else ("real", "complex")
            raise UserError(
                f"the measurement is {kinds[0]} and what the operator gives is {kinds[1]}: complex measurements "
                "need an operator such as Fourier, composed with RealAsComplex or ChannelsAsComplex for a real prior"
            )
        if self.y.shape[1:] != predicted.shape[1:]:
            raise UserError(
                f"the measurement has the shape {tuple(self.y.shape)}, and {('B', *predicted.shape[1:])} was expected: "
                "what the operator gives, behind an axis of items"
            )

    def given(self, predicted: Tensor) -> Tensor:
        """y in the dtype and on the device of h(x). Raises UserError where it has another shape than h(x)."""
        self._fits(predicted)
        if len(self.y) not in (1, len(predicted)):
            raise UserError(
                f"there are {len(self.y)} measurements for {len(predicted)} items; one per sample, or one for all, was "
                "expected"
            )
        return self.y.to(predicted.device, predicted.dtype)

    def residual(self, x: Tensor) -> Tensor:
        """y − h(x), zero where nothing was measured: (B, …)."""
        predicted = self.operator(x)
        return self.operator.measured(self.given(predicted) - predicted)

    def count(self) -> Tensor:
        """How many numbers were measured of each item, complex ones counted twice: (1 or B,)."""
        ones = torch.ones_like(self.y.real if self.y.is_complex() else self.y, dtype=torch.float64)
        return sum_per_sample(self.operator.measured(ones)) * (2 if self.y.is_complex() else 1)

    def select(self, index: Tensor) -> Self:
        return replace(self, **self._selected(index))

    def _selected(self, index: Tensor) -> dict[str, Any]:
        """The fields of `select` that change."""
        return {"operator": self.operator.select(index), "y": entries_of(self.y, index, "measurements")}

    def in_units(self, units: Units) -> Likelihood:
        return replace(self, operator=self.operator.in_units(units))

    def slack(self) -> float:
        """How far, root mean square, noise may carry a measurement out of the operator's range."""
        return 0.0

    def check(self, tolerance: float = 1e-3) -> float:
        """The distance of y from the range of h, relative to y: ‖h(h†(y)) − y‖ / ‖y‖, the largest of all items.

        Raises UserError where it is above `tolerance` and above what noise explains.
        """
        y = self.y
        if self.operator.items is not None and len(y) == 1:
            y = y.expand(self.operator.items, *y.shape[1:])
        away = self.operator.measured(self.operator(self.operator.pseudo_inverse(y)) - y)
        distance, size = squares(away).sqrt(), squares(y).sqrt()
        relative = torch.where(distance > 0, distance / size, 0.0)
        allowed = 6 * self.slack() * self.count().to(distance).sqrt()
        if bool(((relative > tolerance) & (distance > allowed)).any()):
            raise UserError(
                f"the measurement lies outside the operator's range: the nearest that it can give differs by "
                f"{float(relative.max()):.1%} of its size; give sigma > 0, or the operator and the units that it was "
                "measured with"
            )
        return float(relative.max())


def _as_items(y: Any) -> Tensor:
    """y as a tensor (B, …). Raises UserError where it holds no numbers, no item, or no axis of items."""
    try:
        found = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"a measurement is a tensor or an array of numbers (B, …); got {type(y).__name__}") from None
    if found.ndim == 0 or not found.numel():
        raise UserError(
            f"a measurement holds numbers behind an axis of items, (B, …); got the shape {tuple(found.shape)}"
        )
    return found


def normal_like(y: Tensor, draws: Draws) -> Tensor:
    """Counted standard normals like `y` (B, …); complex ones have variance 1 in each part."""
    if y.is_complex():
        return torch.view_as_complex(draws.normal((*y.shape[1:], 2), y.real.dtype))
    return draws.normal_like(y)
