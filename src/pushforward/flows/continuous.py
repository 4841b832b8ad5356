"""The flow of an ordinary differential equation as a Bijection (Chen et al. 2018): d log det/dt = tr ∂v/∂x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.flows.bijection import Bijection
from pushforward.numerics.broadcast import Scalar
from pushforward.numerics.divergence import EXACT, Divergence, Exact, Trace, mean_and_error
from pushforward.numerics.ode import ADAPTIVE, UNIT, Adaptive, Field, Measure, Solver
from pushforward.numerics.quadrature import Weight


class Flowed(NamedTuple):
    """Where the flow went: y (B, …), float64 log det per probe (B, k), evaluations per sample int64 (B,)."""

    y: Tensor
    log_dets: Tensor
    evaluations: Tensor


@dataclass(frozen=True)
class Joint:
    """The error of a state that carries log-determinants in its last `columns` places.

    The state is measured by `state`, the mean of the log-determinants in units of `nats`; the larger counts.
    """

    state: Measure
    nats: float
    columns: int

    def __call__(self, error: Tensor, before: Tensor, after: Tensor) -> Tensor:
        cut = error.shape[1] - self.columns
        size = error[:, cut:].mean(1).abs() / self.nats
        return torch.maximum(size, self.state(error[:, :cut], before[:, :cut], after[:, :cut])) if cut else size


@dataclass(frozen=True)
class AdaptiveFlow:
    """Adaptive steps per sample, controlled on the state and, where it is carried, on the log-determinant in nats."""

    solver: Adaptive = ADAPTIVE
    nats: float = 1e-4

    def carrying(self, columns: int) -> Solver:
        """The solver for a state with this many log-determinants behind it."""
        rule = self.solver
        measure = Joint(rule.measure, self.nats, columns) if columns else rule.measure
        return Adaptive(measure, rule.tableau, rule.max_steps, rule.first_step)


FlowSolver = AdaptiveFlow | Solver


@dataclass(frozen=True)
class Continuous(Bijection):
    """y = the state at `stop` of dx/dt = w(t) v(t, x, rows), x at `start`.

    The state is integrated in float64 beside its log-determinants, whatever the dtype of the velocity, which is given
    states of the dtype of x. Not differentiable in the parameters of v; `Ode` is.
    """

    velocity: Field
    start: float = 0.0
    stop: float = 1.0
    solver: FlowSolver = AdaptiveFlow()
    divergence: Divergence = EXACT
    weight: Weight = UNIT

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flowed = self.solve(x)
        return flowed.y, flowed.log_dets.mean(1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        flowed = self.solve(y, reverse=True)
        return flowed.y, flowed.log_dets.mean(1)

    def log_det(self, flowed: Flowed) -> tuple[Tensor, Tensor]:
        """The mean over probes and its standard error, each (B,): 0 if exact, nan for a single probe."""
        return mean_and_error(flowed.log_dets, exact=isinstance(self.divergence, Exact))

    def solve(self, x: Tensor, *, reverse: bool = False) -> Flowed:
        """The flow with its log-determinants, from `start` to `stop` or back."""
        columns = self.divergence.columns
        return self._run(x, augmented(self.velocity, self.divergence.of(x), x), columns, reverse)

    def push(self, x: Tensor, *, reverse: bool = False) -> Flowed:
        """The flow alone, without derivatives of the velocity; the log-determinants are empty (B, 0)."""
        return self._run(x, _flat(self.velocity, x), 0, reverse)

    def _run(self, x: Tensor, field: Field, columns: int, reverse: bool) -> Flowed:
        solver = self.solver.carrying(columns) if isinstance(self.solver, AdaptiveFlow) else self.solver
        ends = (self.stop, self.start) if reverse else (self.start, self.stop)
        state = torch.cat((x.detach().flatten(1).double(), x.new_zeros(len(x), columns, dtype=torch.float64)), 1)
        with torch.no_grad():
            solution = solver(field, state, *ends, self.weight)
        d = state.shape[1] - columns
        y = solution.y[:, :d].reshape(x.shape).to(x.dtype)
        return Flowed(y, solution.y[:, d:], solution.evaluations)


def augmented(velocity: Field, trace: Trace, like: Tensor) -> Field:
    """The velocity of (x, log det) as one float64 vector per sample."""

    def field(t: Scalar, state: Tensor, rows: Tensor | None) -> Tensor:
        x = _state(state, like)
        value, columns = trace(lambda x: velocity(t, x, rows), x, rows)
        return torch.cat((value.flatten(1).double(), columns), 1)

    return field


def _flat(velocity: Field, like: Tensor) -> Field:
    def field(t: Scalar, state: Tensor, rows: Tensor | None) -> Tensor:
        return velocity(t, _state(state, like), rows).flatten(1).double()

    return field


def _state(flat: Tensor, like: Tensor) -> Tensor:
    return flat[:, : like[0].numel()].reshape(len(flat), *like.shape[1:]).to(like.dtype)
