"""Single-step exponential solvers of the probability flow: DPM-Solver and DPM-Solver++ (Lu et al. 2022), orders 1 to 3.

As the multistep solvers they are linear in the state and in a quantity Q that is interpolated in λ; here Q is known at
the interval's start and at stages inside it, so a step needs no history. With w(·) the exact weights,

| order | stages r | evaluations | x_s = A x_t + |
|---|---|---|---|
| 1 | – | 1 | W Q_t, W = ∫ density dλ (DDIM) |
| 2 | 1/2 | 2 | W Q_{1/2}, the midpoint rule |
| 3 | 1/3, 2/3 | 3 | w on (Q_t, Q_{2/3}), the stage at 2/3 being w on (Q_t, Q_{1/3}) |
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import check_steps
from pushforward.samplers.multistep import DataQuantity, NoiseQuantity, Quantity, interpolation_weights

_ON_NOISE = NoiseQuantity()


@dataclass(frozen=True, slots=True)
class Stage:
    """Evaluate Q at `level`, then go from the interval's start: x = carry·x_t + first·Q_t + newest·Q."""

    level: Level
    a: float
    b: float
    carry: float
    first: float
    newest: float


@dataclass(frozen=True, slots=True)
class StagedMove:
    stages: tuple[Stage, ...]
    random: bool = False

    @property
    def evaluations(self) -> int:
        return len(self.stages)


@dataclass(frozen=True)
class SingleStep:
    """One step of the order given; `order` may be one per interval, as `published_orders` makes them.

    A step from λ = −∞ or into λ = ∞ is of order 1, for one evaluation.
    """

    order: int | tuple[int, ...] = 3
    quantity: Quantity = _ON_NOISE

    def __post_init__(self) -> None:
        if not all(k in (1, 2, 3) for k in self._orders(1)):
            raise UserError(f"single-step solvers have order 1, 2 or 3; got {self.order}")

    def _orders(self, steps: int) -> tuple[int, ...]:
        return self.order if isinstance(self.order, tuple) else (self.order,) * steps

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[StagedMove]:
        orders = self._orders(len(levels) - 1)
        if len(orders) != len(levels) - 1:
            raise UserError(f"{len(orders)} orders were given for a grid of {len(levels) - 1} steps")
        return [self._move(path, t, s, k) for (t, s), k in zip(itertools.pairwise(levels), orders, strict=True)]

    def _move(self, path: GaussianPath, t: Level, s: Level, order: int) -> StagedMove:
        finite = math.isfinite(t.log_ratio) and math.isfinite(s.log_ratio)
        inside = {1: (), 2: (0.5,), 3: (1 / 3, 2 / 3)}[order if finite else 1]
        levels = [t, *(_between(path, t, s, r) for r in inside), s]
        stages = [self._stage(t, now, following, order) for now, following in itertools.pairwise(levels)]
        return StagedMove(tuple(stages))

    def _stage(self, t: Level, now: Level, following: Level, order: int) -> Stage:
        q, carry = self.quantity, self.quantity.carry(t, following)
        if now is t:
            return Stage(now, *q.scales(now), carry, 0.0, q.total(t, following))
        if order == 2:
            return Stage(now, *q.scales(now), carry, 0.0, q.total(t, following))
        first, newest = interpolation_weights([t.log_ratio, now.log_ratio], q, t, following)
        return Stage(now, *q.scales(now), carry, first, newest)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: StagedMove, memory: None, draws: Draws, /
    ) -> tuple[Tensor, None]:
        at, first = x, None
        for stage in move.stages:
            value = denoiser.estimate(at, stage.level).read(stage.a, stage.b)
            at = torch.add(x * stage.carry, value, alpha=stage.newest)
            if first is None:
                first = value
            elif stage.first:
                at = torch.add(at, first, alpha=stage.first)
        return at, None


def _between(path: GaussianPath, t: Level, s: Level, r: float) -> Level:
    """The level at λ_t + r(λ_s − λ_t)."""
    target = t.log_ratio + r * (s.log_ratio - t.log_ratio)
    return path.level(float(path.time(torch.tensor(target, dtype=torch.float64))))


def published_orders(order: int, evaluations: int) -> tuple[int, ...]:
    """One order per step that together spend the budget exactly (Lu et al. 2022, "DPM-Solver-fast").

    Order 3: ⌊n/3⌋ − 1 steps of order 3, then (2, 1), or for n = 1 mod 3 ⌊n/3⌋ of order 3, then 1, or 2 for 2 mod 3.
    Order 2: ⌊n/2⌋ of order 2, then 1 if n is odd.
    """
    n = check_steps(evaluations)
    if order == 1:
        return (1,) * n
    if order == 2:
        return (2,) * (n // 2) + (1,) * (n % 2)
    if order != 3:
        raise UserError(f"single-step solvers have order 1, 2 or 3; got {order}")
    if n % 3 == 0:
        return (3,) * (n // 3 - 1) + (2, 1)
    return (3,) * (n // 3) + (n % 3,)


DPMSolver2S = SingleStep(2)
"""DPM-Solver-2 on the noise (Lu et al. 2022): two evaluations per step."""
DPMSolver3S = SingleStep(3)
"""DPM-Solver-3 on the noise (Lu et al. 2022): three evaluations per step."""
DPMSolverPP2S = SingleStep(2, DataQuantity())
"""DPM-Solver++ 2S, on the mean: two evaluations per step."""
DPMSolverPP3S = SingleStep(3, DataQuantity())
"""DPM-Solver++ 3S, on the mean: three evaluations per step."""
