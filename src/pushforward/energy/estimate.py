"""The two things that a ladder is gone up for: samples of what it leads to, and log Z."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from pushforward.energy.ais import Annealed, anneal, descend, fit_schedule
from pushforward.energy.chains import Kernel
from pushforward.energy.ladders import Ladder
from pushforward.energy.log_z import Average, LogZ, effective_size, log_mean
from pushforward.energy.point import checked
from pushforward.errors import UserError
from pushforward.numerics.random import Draws


@torch.no_grad()
def sample_annealed(ladder: Ladder, kernel: Kernel, draws: Draws, rungs: int, *, moves: int = 1) -> Tensor:
    """Samples of the target, (len(draws), …): up the ladder on even rungs, each chain with a step of its own.

    A chain's step follows its own acceptance, so a sample depends on its key alone; on the last rung it is kept as it
    is for as many moves as the rungs had, which are exact. `kernel.step` is where it begins, in the ladder's units.
    """
    if rungs < 1 or moves < 1:
        raise UserError(f"annealed chains need at least one rung and one move; got {rungs} and {moves}")
    even = [k / rungs for k in range(rungs + 1)]
    point = checked(ladder.target(0.0)(ladder.start(draws.at("start"))), "at the base of the ladder")
    log_step = torch.as_tensor(kernel.step, dtype=torch.float64, device=draws.base.device).log().expand(len(draws))
    for k, (u, v) in enumerate(itertools.pairwise(even)):
        target, unit = ladder.target(v), ladder.unit(v)
        point = target(ladder.carry(point.x, u, v).x)
        for i in range(moves):
            moved = kernel.sized(log_step.exp() * unit)(target, point, draws.at("rung", k, i))
            point, log_step = moved.point, log_step + _GAIN * (moved.accepted.double() - kernel.wanted)
    still = kernel.sized(log_step.exp() * ladder.unit(1.0))
    for i in range(_SETTLE):
        point = still(ladder.target(1.0), point, draws.at("settle", i)).point
    return point.x


_GAIN = 0.15
"""How fast the log of one chain's step follows its own acceptance, which is noisier than the mean of many."""
_SETTLE = 10
"""Moves with a fixed step at the end."""


@torch.no_grad()
def estimate_log_z(
    ladder: Ladder,
    kernel: Kernel,
    draws: Draws,
    *,
    rungs: int = 200,
    moves: int = 1,
    pilot: int = 64,
    data: Tensor | None = None,
    batch_size: int = 512,
) -> LogZ:
    """log Z of a ladder's target with its error, one chain per key.

    Args:
        ladder, kernel: from where to where, and how chains move; `kernel.step` is where the fit of the step begins.
        draws: one key per chain; 500 chains or more make the error one that can be trusted.
        rungs, moves: how fine the ladder is, and how often each rung's kernel acts; the cost grows with both.
        pilot: chains (of these keys, with other draws) that rungs and steps are fitted to.
        data: samples of the target (N, …), gone down from for an upper bound; N chains at most are used.
        batch_size: chains moved at once, which changes no value.

    Raises UserError for fewer than two chains.
    """
    if len(draws) < 2 or pilot < 2:
        raise UserError(f"log Z with an error needs at least two chains and two pilots; got {len(draws)} and {pilot}")
    schedule = fit_schedule(ladder, kernel, draws[:pilot].at("pilot"), rungs, moves=moves)
    parts = [anneal(schedule, part) for part in _batches(draws, batch_size)]
    log_weight = torch.cat([part.log_weight for part in parts])
    found, upper = log_mean(log_weight), None
    if data is not None and len(data):
        down = draws[: len(data)].at("down")
        rows = [
            descend(schedule, x, part)
            for x, part in zip(data[: len(down)].split(batch_size), _batches(down, batch_size), strict=True)
        ]
        upper = _mean_down(rows)
    accepted = float(torch.cat([part.accepted for part in parts], 1).double().mean())
    return LogZ(*found, effective_size(log_weight), len(draws), accepted, upper)


def _mean_down(parts: list[Annealed]) -> Average:
    """E log w of the way down, which is at or above log Z: its mean and standard error."""
    log_weight = torch.cat([part.log_weight for part in parts])
    spread = float(log_weight.std()) if len(log_weight) > 1 else torch.nan
    return Average(float(log_weight.mean()), spread / len(log_weight) ** 0.5)


def _batches(draws: Draws, size: int) -> list[Draws]:
    return [draws[start : start + size] for start in range(0, len(draws), size)]


class Normaliser(nn.Module):
    """log Z for each class and for "no label", with standard errors: stored with a model, unknown until set."""

    log_z: Tensor
    standard_error: Tensor
    known: Tensor

    def __init__(self, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in ("log_z", "standard_error"):
            self.register_buffer(name, torch.zeros(num_classes + 1))
        self.register_buffer("known", torch.zeros(num_classes + 1, dtype=torch.bool))
        self._found: dict[int, LogZ] = {}

    def keep(self, label: int | None, found: LogZ) -> None:
        """Store what was estimated for a label, None for "no label"."""
        row = self.row(label)
        self.log_z[row], self.standard_error[row], self.known[row] = found.value, found.standard_error, True
        self._found[row] = found

    def forget(self) -> None:
        """What trains on is another density."""
        self.known.fill_(False)
        self._found.clear()

    @property
    def method(self) -> str:
        """How log Z was found; of several labels, with the fewest effective chains."""
        words = "log Z by annealed importance sampling"
        if not self._found:
            return words
        worst = min(self._found.values(), key=lambda found: found.effective)
        doubt = "" if worst.trusted else ", too few for its error to be trusted"
        return f"{words}, {worst.effective:.3g} of {worst.chains} chains effective{doubt}"

    def row(self, label: int | None) -> int:
        """Where a label's numbers are. Raises UserError for a label that is none."""
        if label is None:
            return self.num_classes
        if not 0 <= label < self.num_classes:
            known = f"0 … {self.num_classes - 1}" if self.num_classes else "none"
            raise UserError(f"the model has no label {label}; it knows {known}")
        return label

    def of(self, labels: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """log Z and its standard error for each of `count` items, float64 (B,). Raises UserError where unknown."""
        rows = torch.full((count,), self.num_classes, device=self.log_z.device) if labels is None else labels
        known = self.known[rows]
        if not bool(known.all()):
            missing = sorted(set(rows[~known].tolist()))
            names = ["items without a label" if row == self.num_classes else f"label {row}" for row in missing]
            what = f" for {', '.join(names[:5])}" if self.num_classes else ""
            raise UserError(
                f"log Z of this energy model is not known{what}: call estimate_log_z once after training, which takes "
                "annealed chains and so is never done silently"
            )
        return self.log_z[rows].double(), self.standard_error[rows].double()
