"""UniPC (Zhao et al. 2023): a multistep predictor, corrected for free by the next step's own evaluation.

With values Q at λ_t and before, the predictor is the exponential multistep rule. Once Q is known at the predicted
point, the corrector redoes the interval with it as one more node, and Q is not evaluated again. Where the nodes fix the
weights (predictors of order ≥ 3, correctors of order ≥ 2) these are the exact integrals, whatever B(h) is; with one
difference quotient only, the paper replaces the exact coefficient by ½ B(h).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers.multistep import DataQuantity, Quantity, interpolation_weights

_ON_DATA = DataQuantity()
Scale = Callable[[Quantity, Level, Level], float]
"""B(h) times the quantity's factor: the weight of a constant Q over an interval, to first order in h."""


def exponential(quantity: Quantity, t: Level, s: Level) -> float:
    """B₂(h) = e^h − 1: the exact integral."""
    return quantity.total(t, s)


def linear(quantity: Quantity, t: Level, s: Level) -> float:
    """B₁(h) = h: the interval's length times the density at its end."""
    return float(quantity.density(np.array(s.log_ratio), s)) * (s.log_ratio - t.log_ratio)


@dataclass(frozen=True, slots=True)
class UniMove:
    level: Level
    a: float
    b: float
    back: float  # corrector of the state at `level`: back·x_before + Σ redo[j]·Q_j, Q_0 the newest
    redo: tuple[float, ...]
    carry: float  # predictor of the next state
    weights: tuple[float, ...]
    evaluations: ClassVar[int] = 1
    random: ClassVar[bool] = False


Memory = tuple[Tensor, tuple[Tensor, ...]]
"""(the corrected state before, the values of Q, newest first)."""


@dataclass(frozen=True)
class UniPC:
    """UniP-p with UniC-p: order p + 1 for one evaluation per step (p ≤ 3 as published, up to 5 here).

    `scale` is B(h). Steps from λ = −∞ or into λ = ∞ are of order 1 and are not corrected; nor is the last state.
    """

    order: int = 3
    quantity: Quantity = _ON_DATA
    scale: Scale = exponential

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 5:
            raise UserError(f"the order of UniPC must be 1 to 5; got {self.order}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[UniMove]:
        return [self._move(levels[max(0, i - self.order) : i + 1], levels[i + 1]) for i in range(len(levels) - 1)]

    def _move(self, known: Sequence[Level], s: Level) -> UniMove:
        """From the last of the levels where Q is known or about to be, to s."""
        t, q = known[-1], self.quantity
        back, redo = self._corrector(known)
        nodes = _finite(known)[: self.order]
        ends_finite = math.isfinite(t.log_ratio) and math.isfinite(s.log_ratio)
        weights = self._weights(nodes if ends_finite else nodes[:1] or [0.0], t, s)
        return UniMove(t, *q.scales(t), back, redo, q.carry(t, s), weights)

    def _corrector(self, levels: Sequence[Level]) -> tuple[float, tuple[float, ...]]:
        """The interval that ended at levels[-1], once more, with the value there as a node."""
        if len(levels) < 2 or not math.isfinite(levels[-2].log_ratio):
            return 0.0, ()
        before, t = levels[-2], levels[-1]
        nodes = _finite(levels)[: self.order + 1]
        carry, total = self.quantity.carry(before, t), self.quantity.total(before, t)
        if len(nodes) == 2:
            newest = 0.5 * self.scale(self.quantity, before, t)
            return carry, (newest, total - newest)
        old, *older = interpolation_weights([nodes[1], nodes[0], *nodes[2:]], self.quantity, before, t)
        return carry, (older[0], old, *older[1:])

    def _weights(self, nodes: Sequence[float], t: Level, s: Level) -> tuple[float, ...]:
        if len(nodes) != 2:
            return interpolation_weights(nodes, self.quantity, t, s)
        ratio = (s.log_ratio - t.log_ratio) / (nodes[0] - nodes[1])
        older = -0.5 * self.scale(self.quantity, t, s) * ratio
        return self.quantity.total(t, s) - older, older

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: UniMove, memory: Memory | None, draws: Draws, /
    ) -> tuple[Tensor, Memory]:
        before, older = memory or (x, ())
        values = (denoiser.estimate(x, move.level).read(move.a, move.b), *older)[: self.order + 1]
        if move.redo:
            x = _combine(before, move.back, values, move.redo)
        return _combine(x, move.carry, values, move.weights), (x, values)


def _combine(x: Tensor, carry: float, values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    moved = x * carry
    for value, weight in zip(values, weights, strict=False):
        moved = torch.add(moved, value, alpha=weight)
    return moved


def _finite(levels: Sequence[Level]) -> list[float]:
    """λ of the levels, the newest first, without one where it is infinite."""
    return [level.log_ratio for level in reversed(levels) if math.isfinite(level.log_ratio)]
