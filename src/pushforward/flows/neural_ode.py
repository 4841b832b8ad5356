"""Neural ordinary differential equations as layers, trained by maximum likelihood (Chen et al. 2018; FFJORD, 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.flows.bijection import Bijection, Layer
from pushforward.flows.continuous import AdaptiveFlow, Continuous, FlowSolver
from pushforward.networks.checks import require_positive
from pushforward.networks.layers import scaled
from pushforward.numerics.broadcast import Scalar
from pushforward.numerics.divergence import rademacher
from pushforward.numerics.ode import combine
from pushforward.numerics.random import Draws
from pushforward.numerics.tableaus import RK4, Tableau

ACCURATE = AdaptiveFlow()

Rate = Callable[[float, Tensor], tuple[Tensor, Tensor]]
"""(t, x) -> (dx/dt (B, …), d log det/dt (B,))."""
Step = Callable[[Tensor, Tensor | None, float, float], tuple[Tensor, Tensor]]
"""(x, condition, t, end) -> (x at the end, the step's log-determinant (B,))."""


class VelocityMLP(nn.Module):
    """v(t, x, condition) for vectors: x (B, d), t a number or (B,), condition (B, c). Smooth; zero at the start.

    Time and condition move the biases of all hidden layers.
    """

    def __init__(self, features: int, hidden: Sequence[int] = (64, 64), context: int = 0) -> None:
        super().__init__()
        require_positive(features=features, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.features, self.context = features, context
        sizes = [features, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.moved = nn.ModuleList(nn.Linear(1 + context, width, bias=False) for width in hidden)
        self.output = scaled(nn.Linear(sizes[-1], features), 0.0)

    def forward(self, t: Scalar, x: Tensor, context: Tensor | None = None) -> Tensor:
        shape = None if context is None else tuple(context.shape)
        if x.shape[1:] != (self.features,) or shape != ((len(x), self.context) if self.context else None):
            raise UserError(
                f"This velocity was built for {self.features} features and a condition of {self.context} numbers; it "
                f"was given {tuple(x.shape)} and {'no condition' if shape is None else shape}."
            )
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1).expand(len(x), 1)
        outside = time if context is None else torch.cat((time, context.to(x.dtype)), 1)
        for layer, moved in zip(self.hidden, self.moved, strict=True):
            x = torch.tanh(layer(x) + moved(outside))
        return self.output(x)


class Ode(Layer):
    """y = the state at t = 1 of dx/dt = v(t, x, condition), x at t = 0; log det = ∫ tr ∂v/∂x dt.

    Where gradients are wanted the equation takes `steps` equal steps of a Runge-Kutta method, differentiated backwards
    step by step from the states between them: the exact gradient of what was computed, in the memory of one step.
    Elsewhere it is solved by `solver`, per sample and to its tolerances. The trace is exact, at one backward pass per
    number, unless draws are given for a Hutchinson probe (`drawn`).
    """

    def __init__(
        self,
        velocity: nn.Module,
        steps: int = 8,
        tableau: Tableau = RK4,
        solver: FlowSolver = ACCURATE,
    ) -> None:
        super().__init__()
        require_positive(steps=steps)
        self.velocity, self.steps, self.tableau, self.solver = velocity, steps, tableau, solver

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.run(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.run(y, context, reverse=True)

    def drawn(self, draws: Draws) -> Bijection:
        return Probed(self, draws)

    def run(
        self, x: Tensor, context: Tensor | None, probe: Tensor | None = None, *, reverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """From 0 to 1 or back; with a probe (B, …) the trace is estimated by it."""
        if not torch.is_grad_enabled() and probe is None:
            return self._solved(x, context, reverse)
        times = torch.linspace(1.0, 0.0, self.steps + 1) if reverse else torch.linspace(0.0, 1.0, self.steps + 1)
        parameters = [p for p in self.velocity.parameters() if p.requires_grad]
        return _Adjoint.apply(self._stepped(probe), times.tolist(), x, context, *parameters)

    def _stepped(self, probe: Tensor | None) -> Step:
        def step(x: Tensor, context: Tensor | None, t: float, end: float) -> tuple[Tensor, Tensor]:
            def rate(time: float, state: Tensor) -> tuple[Tensor, Tensor]:
                return traced(lambda v: self.velocity(time, v, context), state, probe)

            return runge_kutta(rate, self.tableau, x, t, end)

        return step

    def _solved(self, x: Tensor, context: Tensor | None, reverse: bool) -> tuple[Tensor, Tensor]:
        def field(t: Scalar, state: Tensor, rows: Tensor | None) -> Tensor:
            return self.velocity(t, state, context if rows is None or context is None else context[rows])

        flowed = Continuous(field, solver=self.solver).solve(x, reverse=reverse)
        return flowed.y, flowed.log_dets.mean(1).to(x.dtype)


@dataclass(frozen=True)
class Probed(Bijection):
    """An `Ode` whose trace is estimated by one probe of ±1 per sample, the same at all times."""

    layer: Ode
    draws: Draws
    context: Tensor | None = None

    def given(self, context: Tensor | None) -> Probed:
        return Probed(self.layer, self.draws, context)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer.run(x, self.context, self._probe(x))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer.run(y, self.context, self._probe(y), reverse=True)

    def _probe(self, x: Tensor) -> Tensor:
        return rademacher(self.draws.at("probe"), x.shape[1:], x.dtype)


def traced(field: Callable[[Tensor], Tensor], x: Tensor, probe: Tensor | None) -> tuple[Tensor, Tensor]:
    """f(x) and tr ∂f/∂x (B,), or εᵀ ∂f/∂x ε with a probe; both differentiable again."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        value = field(x)
        if not value.requires_grad:
            return value, value.new_zeros(len(x))
        if probe is not None:
            pulled = torch.autograd.grad(value, x, probe, create_graph=True)[0]
            return value, (pulled * probe).flatten(1).sum(1)
        columns = value.flatten(1).unbind(1)
        rows = [torch.autograd.grad(c.sum(), x, create_graph=True)[0].flatten(1)[:, i] for i, c in enumerate(columns)]
        return value, torch.stack(rows).sum(0)


def runge_kutta(rate: Rate, tableau: Tableau, x: Tensor, t: float, end: float) -> tuple[Tensor, Tensor]:
    """One step of state and log-determinant from t to `end`."""
    h, slopes, traces = end - t, list[Tensor](), list[Tensor]()
    for node, row in zip(tableau.nodes[:-1], tableau.rows[:-1], strict=True):
        state = x + h * combine(row, slopes) if slopes else x
        slope, trace = rate(t + node * h, state)
        slopes.append(slope)
        traces.append(trace)
    return x + h * combine(tableau.weights, slopes), h * combine(tableau.weights, traces)


class _Adjoint(torch.autograd.Function):
    """The steps one after the other without a graph; backward, each anew with one."""

    @staticmethod
    def forward(
        ctx: Any, step: Step, times: list[float], x: Tensor, context: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        states, log_det = [x], x.new_zeros(len(x))
        for t, end in pairwise(times):
            state, moved = step(states[-1], context, t, end)
            states.append(state.detach())
            log_det = log_det + moved.detach()
        ctx.step, ctx.times = step, times
        ctx.save_for_backward(context, *parameters, *states[:-1])
        return states[-1], log_det

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_state: Tensor, grad_log: Tensor) -> tuple[Tensor | None, ...]:
        context, *saved = ctx.saved_tensors
        parameters, states = saved[: -len(ctx.times) + 1], saved[-len(ctx.times) + 1 :]
        wanted = [context, *parameters] if context is not None and context.requires_grad else parameters
        totals = [torch.zeros_like(p) for p in wanted]
        for (t, end), state in zip(reversed(list(pairwise(ctx.times))), reversed(states), strict=True):
            with torch.enable_grad():
                x = state.detach().requires_grad_()
                outputs = ctx.step(x, context, t, end)
            grad_state, *found = torch.autograd.grad(
                outputs, [x, *wanted], [grad_state, grad_log], allow_unused=True, materialize_grads=True
            )
            totals = [total.add_(part) for total, part in zip(totals, found, strict=True)]
        of_context = totals.pop(0) if len(totals) > len(parameters) else None
        return None, None, grad_state, of_context, *totals
