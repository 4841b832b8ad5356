"""Annealed importance sampling: log Z of what a ladder leads to, and samples of it, by chains that never meet.

Going up, each chain weighs w = Π_k γ_{k+1}(T_k x_k) |det T_k| / γ_k(x_k), moved at every rung by a kernel that leaves
that rung invariant; E w = Z exactly, for any number of rungs (Neal 2001). Going down from samples of the target the
same ratio has E 1/w = 1/Z. So log w̄ is below log Z on average, and the way down above it (Grosse et al. 2015).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.energy.chains import Kernel
from pushforward.energy.ladders import Ladder
from pushforward.energy.point import checked
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar
from pushforward.numerics.random import Draws


@dataclass(frozen=True, eq=False)
class Schedule:
    """The rungs on a ladder, from 0 to 1, and how chains are moved on each: `moves` times by its kernel.

    `kernels[k]` belongs to rung k + 1; nothing moves on the base, which is drawn from exactly.
    """

    ladder: Ladder
    rungs: tuple[float, ...]
    kernels: tuple[Kernel, ...]
    moves: int = 1

    def __post_init__(self) -> None:
        check_rungs(self.rungs)
        if len(self.kernels) != len(self.rungs) - 1 or self.moves < 1:
            raise UserError(
                f"{len(self.rungs)} rungs need {len(self.rungs) - 1} kernels and at least one move; got "
                f"{len(self.kernels)} and {self.moves}"
            )


def check_rungs(rungs: Sequence[float]) -> None:
    """Raises UserError unless they increase from 0 to 1."""
    pairs = list(itertools.pairwise(rungs))
    if not pairs or rungs[0] != 0 or rungs[-1] != 1 or any(not a < b for a, b in pairs):
        raise UserError(f"the rungs of a ladder increase from 0 to 1; got {list(rungs)[:5]} … {list(rungs)[-1:]}")


class Annealed(NamedTuple):
    """Where the chains ended (B, …), their log w (B,), its increments (rungs, B), and mean acceptances (rungs, B)."""

    x: Tensor
    log_weight: Tensor
    increments: Tensor
    accepted: Tensor


def anneal(schedule: Schedule, draws: Draws) -> Annealed:
    """Up from the base: x is a sample of the target as far as the weights are even. E exp(log_weight) = Z."""
    ladder, rungs = schedule.ladder, schedule.rungs
    point = checked(ladder.target(0.0)(ladder.start(draws.at("start"))), "at the base of the ladder")
    increments, accepted = [], []
    for k, (u, v) in enumerate(itertools.pairwise(rungs)):
        target, (x, log_det) = ladder.target(v), ladder.carry(point.x, u, v)
        new = target(x)
        increments.append(new.value.double() - point.value.double() + log_det)
        point, rate = new, torch.zeros_like(new.value)
        for i in range(schedule.moves):
            moved = schedule.kernels[k](target, point, draws.at("rung", k, i))
            point, rate = moved.point, rate + moved.accepted / schedule.moves
        accepted.append(rate)
    steps = torch.stack(increments)
    return Annealed(point.x, steps.sum(0), steps, torch.stack(accepted))


def descend(schedule: Schedule, x: Tensor, draws: Draws) -> Annealed:
    """Down to the base from samples x (B, …) of the target, every move reversed: E exp(−log_weight) = 1/Z.

    The kernels must be reversible, which MALA and HMC are. `x` that is not of the target bounds nothing.
    """
    ladder, rungs = schedule.ladder, schedule.rungs
    point = checked(ladder.target(1.0)(x), "where the ladder is gone down from")
    increments, accepted = [], []
    for k in reversed(range(len(rungs) - 1)):
        u, v = rungs[k], rungs[k + 1]
        target, rate = ladder.target(v), torch.zeros_like(point.value)
        for i in range(schedule.moves):
            moved = schedule.kernels[k](target, point, draws.at("down", k, i))
            point, rate = moved.point, rate + moved.accepted / schedule.moves
        x, log_det = ladder.carry(point.x, v, u)
        new = ladder.target(u)(x)
        increments.append(point.value.double() - new.value.double() + log_det)
        point = new
        accepted.append(rate)
    steps = torch.stack(increments)
    return Annealed(point.x, steps.sum(0), steps, torch.stack(accepted))


def fit_schedule(
    ladder: Ladder, kernel: Kernel, draws: Draws, rungs: int, *, moves: int = 1, pilot: int | None = None
) -> Schedule:
    """Rungs and steps fitted by one pilot run of the chains of `draws`, on `pilot` rungs evenly set (as many as asked).

    On the way the step follows the wanted acceptance; `kernel.step` is where it begins, in the ladder's own units. The
    rungs are then set so that each adds the same deviation to log w, which for their number is best (Kirkpatrick's
    constant thermodynamic speed). What the pilot drew is not used again, so the weights stay unbiased.
    """
    if rungs < 1:
        raise UserError(f"a ladder needs at least one rung above its base; got {rungs}")
    count = pilot or rungs
    even = [k / count for k in range(count + 1)]
    point = checked(ladder.target(0.0)(ladder.start(draws.at("start"))), "at the base of the ladder")
    log_step = float(torch.as_tensor(kernel.step).double().mean().log())
    spread, steps = [], []
    for k, (u, v) in enumerate(itertools.pairwise(even)):
        target, (x, log_det) = ladder.target(v), ladder.carry(point.x, u, v)
        new = target(x)
        spread.append(float((new.value.double() - point.value.double() + log_det).std(correction=0)))
        point = new
        for i in range(moves):
            sized = kernel.sized(_exp(log_step) * ladder.unit(v))
            moved = sized(target, point, draws.at("pilot", k, i))
            point = moved.point
            log_step += _GAIN * (float(moved.accepted.double().mean()) - kernel.wanted)
        steps.append(log_step)
    placed = _evenly_spread(even, spread, rungs)
    smooth = _smoothed(steps)
    at = [smooth[min(int(v * count), count - 1)] for v in placed[1:]]
    kernels = tuple(kernel.sized(_exp(log) * ladder.unit(v)) for log, v in zip(at, placed[1:], strict=True))
    return Schedule(ladder, tuple(placed), kernels, moves)


_GAIN = 1.0
"""How fast the log of the step follows the acceptance from move to move of the pilot."""


def _exp(log_step: Scalar) -> float:
    return float(torch.as_tensor(log_step, dtype=torch.float64).exp())


def _smoothed(values: Sequence[float], width: int = 9) -> list[float]:
    """Running means, which take out what the pilot's step overshot."""
    total = torch.tensor(values, dtype=torch.float64)
    half = min(width, len(values)) // 2
    return [float(total[max(i - half, 0) : i + half + 1].mean()) for i in range(len(values))]


def _evenly_spread(even: Sequence[float], spread: Sequence[float], rungs: int) -> list[float]:
    """Positions with equal shares of Σ spread between them; a tenth is spread evenly, so that no gap grows large."""
    size = torch.tensor(spread, dtype=torch.float64)
    size = size + 0.1 * size.mean() + 1e-12
    length = torch.cat((torch.zeros(1, dtype=torch.float64), size.cumsum(0)))
    length = length / length[-1]
    wanted = torch.linspace(0, 1, rungs + 1, dtype=torch.float64)
    k = torch.searchsorted(length, wanted, right=True).clamp(1, len(even) - 1)
    at = torch.tensor(even, dtype=torch.float64)
    share = (wanted - length[k - 1]) / (length[k] - length[k - 1])
    placed = at[k - 1] + share * (at[k] - at[k - 1])
    return [0.0, *placed[1:-1].tolist(), 1.0]
