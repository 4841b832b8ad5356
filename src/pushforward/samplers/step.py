"""The Step protocol and the one loop that runs every sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.grids import check_decreasing


class Step(Protocol):
    """A frozen rule that moves a state from one level to the next.

    `plan` turns a path and a grid into one move per interval: all coefficients, float64, computed before the loop.
    `__call__` applies one of them; it is pure: history goes in and comes out as `memory` (None before the first step).
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


class _Recorder(Denoiser):
    """Remembers the last Estimate, for the observer alone; samplers do not know of it."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.inner, self.path = denoiser, denoiser.path
        self.last: Estimate | None = None

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.last = self.inner.estimate(x, level)
        return self.last


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
    """Move x: (B, …) from levels[0] to levels[-1] and return it there, finished if asked.

    Memory does not grow with the number of steps. Raises UserError for a grid that does not decrease.
    """
    if len(levels) < 2:
        raise UserError(f"a grid needs at least two levels, from noise to data; got {len(levels)}")
    if len(draws) != len(x):
        raise UserError(f"there are {len(x)} samples and {len(draws)} keys for their randomness; one each is needed")
    check_decreasing(levels)
    moves = step.plan(denoiser.path, levels)
    recorder = _Recorder(denoiser) if observe else None
    used: Denoiser = recorder or denoiser
    memory = None
    for i, move in enumerate(moves):
        x, memory = step(used, x, move, memory, draws.at(i) if move_is_random(move) else draws)
        if observe and recorder:
            observe(Progress(i + 1, len(moves), levels[i + 1], x, recorder.last))
    return finish(used, x, levels[-1]) if finish else x


def move_is_random(move: Any) -> bool:
    """Whether a move draws noise; moves say so by `random`, and those that say nothing do."""
    return getattr(move, "random", True)


def half_denoised(denoiser: Denoiser, x: Tensor, level: Level) -> Tensor:
    """(x/α + E[x_0 | x])/2: of the two usual endings one stops short and one goes too far by the same amount."""
    return (x / level.alpha + denoiser(x, level).mean) / 2


def denoised(denoiser: Denoiser, x: Tensor, level: Level) -> Tensor:
    """E[x_0 | x], the end of the published samplers."""
    return denoiser(x, level).mean
