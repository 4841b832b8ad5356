"""The Step protocol and the one loop that runs every sampler."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import Grid, check_decreasing


class Step(Protocol):
    """A frozen rule that moves a state from one level to the next.

    `plan` turns a path and a grid into one move per interval: all coefficients, float64, computed before the loop.
    `__call__` applies one of them; it is pure: history goes in and comes out as `memory` (None before the first step).
    A move declares `evaluations`, the network evaluations it costs, and `random`, whether it draws noise.
    """

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> Sequence[Any]:
        """One move per interval (levels[i], levels[i + 1]). Raises UserError where the rule has no meaning."""
        ...

    def __call__(self, denoiser: Denoiser, x: Tensor, move: Any, memory: Any, draws: Draws, /) -> tuple[Tensor, Any]:
        """(x at the next level, memory for the next step)."""
        ...


Finish = Callable[[Denoiser, Tensor, Level], Tensor]
"""What is done with the last state, for one more evaluation: `half_denoised` or `denoised`."""


@dataclass(frozen=True)
class Progress:
    """What an observer is shown after each step: the state, the level it is at, and the last Estimate made."""

    step: int
    total: int
    level: Level
    x: Tensor
    estimate: Estimate | None


Observer = Callable[[Progress], None]


class Recorder(Denoiser):
    """Remembers the last Estimate, for the observer alone; samplers do not know of it."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.inner, self.path = denoiser, denoiser.path
        self.last: Estimate | None = None

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.last = self.inner.estimate(x, level)
        return self.last

    def rows(self, index: Tensor) -> Denoiser:
        return self.inner.rows(index)  # of a part of the batch nothing is remembered

    def __getattr__(self, name: str) -> Any:
        """What only some denoisers have, as those of symbols their `timeless`."""
        if name == "inner":  # not there yet
            raise AttributeError(name)
        return getattr(self.inner, name)


def simulate(
    denoiser: Denoiser,
    step: Step,
    x: Tensor,
    levels: Sequence[Level],
    draws: Draws,
    *,
    finish: Finish | None = None,
    observe: Observer | None = None,
) -> Tensor:
    """Move x: (B, …) from levels[0] down to levels[-1] and return it there, finished if asked.

    Memory does not grow with the number of steps. Raises UserError for a grid that does not decrease.
    """
    _check_batch(x, levels, draws)
    check_decreasing(levels)
    recorder = Recorder(denoiser) if observe else None
    x = _run(recorder or denoiser, step, x, levels, step.plan(denoiser.path, levels), draws, observe)
    return finish(denoiser, x, levels[-1]) if finish else x


def encode(
    denoiser: Denoiser, step: Step, x: Tensor, levels: Sequence[Level], *, observe: Observer | None = None
) -> Tensor:
    """Move x: (B, …) up from levels[0], near the data, to levels[-1]: the latent that sampling takes back to x.

    Any step of the probability flow inverts itself this way (DDIM inversion: Song et al. 2021, section 4.3). The
    levels are those of a sampling grid turned round by `upwards`. Raises UserError for a grid that does not increase,
    one that starts at σ = 0, where nothing says which noise to add, and a step that draws noise.
    """
    draws = Draws.of(0, range(len(x)), "encode", x.device)
    _check_batch(x, levels, draws)
    if levels[0].sigma == 0:
        raise UserError("encoding cannot start at σ = 0, where the noise is unknown; start at the path's t_min")
    _check_increasing(levels)
    moves = step.plan(denoiser.path, levels)
    if any(move_is_random(move) for move in moves):
        raise UserError(f"encoding needs a step that draws no noise, such as DDIM; {step!r} draws some")
    return _run(Recorder(denoiser) if observe else denoiser, step, x, levels, moves, draws, observe)


def upwards(levels: Sequence[Level]) -> tuple[Level, ...]:
    """A sampling grid turned round for `encode`, without its point of clean data."""
    return tuple(level for level in reversed(levels) if level.sigma > 0)


def _run(
    denoiser: Denoiser,
    step: Step,
    x: Tensor,
    levels: Sequence[Level],
    moves: Sequence[Any],
    draws: Draws,
    observe: Observer | None,
) -> Tensor:
    memory = None
    for i, move in enumerate(moves):
        x, memory = step(denoiser, x, move, memory, draws.at(i) if move_is_random(move) else draws)
        if observe:
            last = denoiser.last if isinstance(denoiser, Recorder) else None
            observe(Progress(i + 1, len(moves), levels[i + 1], x, last))
    return x


def _check_batch(x: Tensor, levels: Sequence[Level], draws: Draws) -> None:
    if len(levels) < 2:
        raise UserError(f"a grid needs at least two levels, from noise to data; got {len(levels)}")
    if len(draws) != len(x):
        raise UserError(f"there are {len(x)} samples and {len(draws)} keys for their randomness; one each is needed")


def _check_increasing(levels: Sequence[Level]) -> None:
    for before, after in itertools.pairwise(levels):
        if not after.ratio > before.ratio:
            raise UserError(
                f"an encoding grid must increase from data to noise; it goes from t = {before.t:g} "
                f"(σ = {before.sigma:g}) to t = {after.t:g} (σ = {after.sigma:g})"
            )


def evaluations(step: Step, path: GaussianPath, levels: Sequence[Level], finish: Finish | None = None) -> int:
    """How often the network is called on this grid. Raises UserError for an adaptive step, which decides itself."""
    counts = [move.evaluations for move in step.plan(path, levels)]
    if None in counts:
        raise UserError(f"{step!r} is adaptive: how many evaluations it needs is known only after it ran")
    return sum(counts) + (finish is not None)


def steps_for(step: Step, path: GaussianPath, grid: Grid, budget: int, finish: Finish | None = None) -> int:
    """The largest number of steps on `grid` that calls the network at most `budget` times.

    Raises UserError where even one step costs more.
    """

    def cost(steps: int) -> int:
        return evaluations(step, path, grid(path, steps), finish)

    one = cost(1)
    if one > budget:
        raise UserError(f"one step needs {one} evaluations; the budget is {budget}")
    if budget == one:
        return 1
    last, before, steps, spent = 1, one, 2, cost(2)
    while spent < budget:  # each step costs the same, but a restart, say, not from the first on
        more = (budget - spent) // max((spent - before) // (steps - last), 1)
        if not more and last > 1:
            break
        last, before, steps = steps, spent, steps + max(more, 1)
        spent = cost(steps)
    while spent > budget:
        steps -= 1
        spent = cost(steps)
    return steps


def move_is_random(move: Any) -> bool:
    """Whether a move draws noise; moves say so by `random`, and those that say nothing do."""
    return getattr(move, "random", True)


def inner_draws(draws: Draws, move: Any, *purpose: int | str) -> Draws:
    """The draws of a step inside another step, hashed only if it uses them."""
    return draws.at(*purpose) if move_is_random(move) else draws


def half_denoised(denoiser: Denoiser, x: Tensor, level: Level) -> Tensor:
    """(x/α + E[x_0 | x])/2: of the two usual endings one stops short and one goes too far by the same amount."""
    return (x / level.alpha + denoiser(x, level).mean) / 2


def denoised(denoiser: Denoiser, x: Tensor, level: Level) -> Tensor:
    """E[x_0 | x], the end of the published samplers."""
    return denoiser(x, level).mean
