"""Ordinary differential equations dy/dt = w(t) f(t, y): every sample of a batch is an equation of its own.

The adaptive solver gives each sample its own step size and its own acceptance, so that a sample's result is the same
alone and in any batch; samples that have arrived leave the batch. States are (B, …), times float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pushforward.errors import NumericalError, UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.quadrature import Unit, Weight
from pushforward.numerics.tableaus import DOPRI5, Tableau

Field = Callable[[Scalar, Tensor, Tensor | None], Tensor]
"""f(t, y, rows): the time is a float or one per sample (b,); `rows` int64 (b,) says which samples of the batch these
are, None for all of them, so that what is bound per sample (a condition, a probe) can follow."""

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(error, state before, state after), each (b, …) -> (b,): at most 1 where the error is within tolerance."""

UNIT = Unit()


class Solution(NamedTuple):
    """The state at the end, and what it cost each sample: int64 (B,)."""

    y: Tensor
    evaluations: Tensor
    rejected: Tensor


class Solver(Protocol):
    """A rule that carries y from start to stop along dy/dt = w(t) f(t, y)."""

    def __call__(self, field: Field, y: Tensor, start: float, stop: float, weight: Weight = UNIT, /) -> Solution: ...


def _check_tolerances(rtol: float, atol: float) -> None:
    if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise UserError(f"tolerances must not be negative, and one must be positive; got rtol {rtol} and atol {atol}")


def _scaled(error: Tensor, before: Tensor, after: Tensor, rtol: float, atol: float) -> Tensor:
    return (error / (atol + rtol * torch.maximum(before.abs(), after.abs()))).flatten(1)


@dataclass(frozen=True)
class Rms:
    """√(mean (e/(atol + rtol |y|))²) over the coordinates of a sample."""

    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self) -> None:
        _check_tolerances(self.rtol, self.atol)

    def __call__(self, error: Tensor, before: Tensor, after: Tensor) -> Tensor:
        return _scaled(error, before, after, self.rtol, self.atol).square().mean(1).sqrt()


@dataclass(frozen=True)
class Largest:
    """max |e|/(atol + rtol |y|) over the coordinates of a sample."""

    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self) -> None:
        _check_tolerances(self.rtol, self.atol)

    def __call__(self, error: Tensor, before: Tensor, after: Tensor) -> Tensor:
        return _scaled(error, before, after, self.rtol, self.atol).abs().amax(1)


def weighted(field: Field, weight: Weight) -> Field:
    """w(t) f(t, y) as one velocity."""
    if isinstance(weight, Unit):
        return field

    def velocity(t: Scalar, y: Tensor, rows: Tensor | None) -> Tensor:
        factor = weight.density(torch.as_tensor(t, dtype=torch.float64, device=y.device))
        return field(t, y, rows) * expand(factor, y)

    return velocity


def combine(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """Σ_j weights[j]·slopes[j], zeros left out."""
    total: Tensor | None = None
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = slope * weight if total is None else total.add_(slope, alpha=weight)
    return torch.zeros_like(slopes[0]) if total is None else total


def _stages(
    velocity: Field, tableau: Tableau, at: _State, h: Tensor, end: Tensor, rows: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """The state at `end` and all slopes; h and end (b,)."""
    slopes, step = [at.slope], expand(h, at.y)
    state = at.y
    for node, row in zip(tableau.nodes[1:], tableau.rows[1:], strict=True):
        state = at.y + step * combine(row, slopes)
        slopes.append(velocity(end if node == 1.0 else at.t + node * h, state, rows))
    return state, slopes


class _State(NamedTuple):
    """The samples that are still on their way. All (b, …)."""

    rows: Tensor
    t: Tensor
    y: Tensor
    slope: Tensor
    h: Tensor
    free: Tensor  # may the step grow: not right after a rejection
    evaluations: Tensor
    rejected: Tensor

    def some(self, mask: Tensor) -> _State:
        return _State(*(part[mask] for part in self))


@dataclass(frozen=True)
class Adaptive:
    """An embedded Runge-Kutta pair with a step size, an acceptance and a count of steps per sample.

    Raises NumericalError, naming the sample, where the step falls below the resolution of the time (the solution is not
    smooth there, or not finite) and after `max_steps` steps.
    """

    measure: Measure = Rms()
    tableau: Tableau = DOPRI5
    max_steps: int = 10_000
    first_step: float | None = None

    def __call__(self, field: Field, y: Tensor, start: float, stop: float, weight: Weight = UNIT, /) -> Solution:
        velocity = weighted(field, weight)
        done, total, rejected = y.clone(), *(torch.zeros(len(y), dtype=torch.int64, device=y.device) for _ in "ab")
        state = self._begin(velocity, y, start, stop) if start != stop and len(y) else None
        for _ in range(self.max_steps):
            if state is None:
                break
            state = self._step(velocity, state, stop, len(y))
            arrived = state.t == stop
            if bool(arrived.any()):
                end = state.some(arrived)
                done[end.rows], total[end.rows], rejected[end.rows] = end.y, end.evaluations, end.rejected
                state = None if bool(arrived.all()) else state.some(~arrived)
        if state is not None:
            raise NumericalError(
                f"{_name(state.rows[0])}: t = {float(state.t[0]):g} was reached after {self.max_steps} steps on "
                f"the way from {start:g} to {stop:g}; allow more steps or a larger tolerance"
            )
        return Solution(done, total, rejected)

    def _begin(self, velocity: Field, y: Tensor, start: float, stop: float) -> _State:
        b, span = len(y), stop - start
        t = torch.full((b,), start, dtype=torch.float64, device=y.device)
        slope = velocity(t, y, None)
        check_finite(slope, start, "velocity")
        spent = torch.ones(b, dtype=torch.int64, device=y.device)
        if self.first_step is None:
            h, spent = self._first_step(velocity, y, slope, t, span), spent + 1
        else:
            h = torch.full_like(t, self.first_step)
        h = _ladder(h.clamp(max=abs(span)) * (1.0 if span > 0 else -1.0))
        rows = torch.arange(b, device=y.device)
        return _State(rows, t, y.clone(), slope, h, torch.ones_like(t, dtype=torch.bool), spent, spent * 0)

    def _first_step(self, velocity: Field, y: Tensor, slope: Tensor, t: Tensor, span: float) -> Tensor:
        """A step whose error is about a hundredth of the tolerance (Hairer, Nørsett & Wanner 1993, II.4): |h|, (b,)."""
        size, speed = (self.measure(v, y, y).double() for v in (y, slope))
        trial = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed).clamp(max=abs(span))
        signed = trial if span > 0 else -trial
        ahead = velocity(t + signed, y + expand(signed, y) * slope, None)
        bend = self.measure(ahead - slope, y, y).double() / trial
        largest = torch.maximum(speed, bend)
        h = torch.where(
            largest <= 1e-15, (trial * 1e-3).clamp(min=1e-6), (0.01 / largest) ** (1 / self.tableau.error_order)
        )
        return torch.minimum(100 * trial, h).nan_to_num(nan=1e-6)

    def _step(self, velocity: Field, at: _State, stop: float, batch: int) -> _State:
        left = stop - at.t
        last = at.h.abs() * 1.01 >= left.abs()  # never leave a crumb for one more step
        h = torch.where(last, left, at.h)
        end = torch.where(last, torch.full_like(at.t, stop), at.t + h)
        rows = None if len(at.rows) == batch else at.rows
        after, slopes = _stages(velocity, self.tableau, at, h, end, rows)
        ratio = self._error(slopes, at, after, h)
        accepted = ratio <= 1  # False for nan
        self._check_step(h, at, accepted, stop)
        growth = (0.9 * ratio.clamp(min=1e-10) ** (-1 / self.tableau.error_order)).nan_to_num(nan=0.2)
        growth = growth.clamp(0.2, 5.0)
        growth = torch.where(at.free & accepted, growth, growth.clamp(max=1.0))
        shape = accepted.reshape(-1, *(1,) * (at.y.ndim - 1))
        return _State(
            at.rows,
            torch.where(accepted, end, at.t),
            torch.where(shape, after, at.y),
            torch.where(shape, slopes[-1], at.slope),
            _ladder(h * growth),
            accepted,
            at.evaluations + self.tableau.evaluations,
            at.rejected + ~accepted,
        )

    def _error(self, slopes: list[Tensor], at: _State, after: Tensor, h: Tensor) -> Tensor:
        step = expand(h, at.y)
        sizes = [
            self.measure(step * combine(row, slopes), at.y, after).double().nan_to_num(nan=torch.inf)
            for row in self.tableau.errors
        ]
        if len(sizes) == 1:
            return sizes[0]
        fine, coarse = sizes
        return torch.where(fine > 0, fine**2 / torch.hypot(fine, 0.1 * coarse), fine)

    def _check_step(self, h: Tensor, at: _State, accepted: Tensor, stop: float) -> None:
        resolution = 4 * torch.finfo(torch.float64).eps * torch.maximum(at.t.abs(), torch.full_like(at.t, abs(stop)))
        stuck = ~accepted & (h.abs() <= resolution)
        if bool(stuck.any()):
            i = int(stuck.nonzero()[0])
            raise NumericalError(
                f"{_name(at.rows[i])}: the step size fell to {float(h[i].abs()):.1e} at t = {float(at.t[i]):g}; the "
                "solution is not smooth or not finite there, or the tolerance is below the rounding of the velocity"
            )


def _ladder(h: Tensor) -> Tensor:
    """The nearest size below on a ladder of 2^{k/4}.

    The last bits of a velocity depend on the batch it is computed in; on the ladder the step sizes seldom do. The small
    addend keeps a size that is on the ladder where it is.
    """
    return torch.sign(h) * torch.exp2(torch.floor(4 * torch.log2(h.abs()) + 1e-6) / 4)


ADAPTIVE = Adaptive()
"""Order 5, tolerances 1e-5 in the root mean square."""


def _name(row: Tensor) -> str:
    return f"sample {int(row)} of the batch"


def check_finite(values: Tensor, t: float, what: str = "state") -> None:
    """Raises NumericalError, naming the first sample whose values (B, …) are not all finite."""
    finite = values.flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        raise NumericalError(f"{_name((~finite).nonzero()[0])}: the {what} at t = {t:g} is not finite")


@dataclass(frozen=True)
class Fixed:
    """`steps` equal steps of a Runge-Kutta method, the same for every sample."""

    steps: int
    tableau: Tableau = DOPRI5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"the number of steps must be at least 1; got {self.steps}")

    def __call__(self, field: Field, y: Tensor, start: float, stop: float, weight: Weight = UNIT, /) -> Solution:
        velocity = weighted(field, weight)
        times = torch.linspace(start, stop, self.steps + 1, dtype=torch.float64).tolist()
        slope = velocity(start, y, None)
        for t, end in itertools.pairwise(times):
            slopes, state = [slope], y
            for node, row in zip(self.tableau.nodes[1:], self.tableau.rows[1:], strict=True):
                state = y + (end - t) * combine(row, slopes)
                slopes.append(velocity(end if node == 1.0 else t + node * (end - t), state, None))
            y, slope = state, slopes[-1]
        check_finite(y, stop)
        evaluations = torch.full((len(y),), 1 + self.steps * self.tableau.evaluations, device=y.device)
        return Solution(y, evaluations, torch.zeros_like(evaluations))
