"""Whether a tuned sampler helps: its distance to the reference beside the default one's, on starts of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from pushforward.numerics.broadcast import mean_per_sample
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.samplers.default import default_sampler
from pushforward.samplers.step import Finish, Step, simulate
from pushforward.samplers.tuned import Tuned
from pushforward.samplers.tuning.effort import Effort
from pushforward.samplers.tuning.starts import Task


class Figures(NamedTuple):
    """Distance to the reference endpoint per coordinate: over all samples, and of the median sample."""

    rms: float
    median: float


@dataclass(frozen=True)
class TuningResult:
    """A sampler, or None with the reason; and the figures of both on held-out starts."""

    sampler: Tuned | None
    reason: str
    tuned: Figures
    default: Figures


def judged(sampler: Tuned, task: Task, evaluations: int, sigma_data: float, effort: Effort) -> TuningResult:
    """The sampler, if it is better than the default one in both figures on starts that nothing was fitted to."""
    path = task.denoiser.path
    usual = default_sampler(path, evaluations, sigma_data)
    steps = ((sampler, sampler.levels(path), None), (usual.step, usual.grid(path, evaluations), usual.finish))
    tuned, default = (_figures(task, effort.batch, *rule) for rule in steps)
    reason = refusal(tuned, default, len(task.starts))
    return TuningResult(None if reason else sampler, reason or "it helps on held-out starts", tuned, default)


def refusal(tuned: Figures, default: Figures, count: int) -> str:
    """Why a tuned sampler is not used, empty where it is."""
    for name, ours, usual in zip(Figures._fields, tuned, default, strict=True):
        if not ours < usual:
            return (
                f"on {count} held-out starts its {name} distance to the reference is {ours:.3g}, and the default "
                f"sampler's {usual:.3g}: more starts or more steps of fitting may help"
            )
    return ""


@torch.no_grad()
def _figures(task: Task, batch: int, step: Step, levels: Sequence[Level], finish: Finish | None) -> Figures:
    squares = []
    for rows in torch.arange(len(task.starts), device=task.starts.device).split(batch):
        part, draws = task.rows(rows), Draws.of(0, rows, "tune judge", task.starts.device)
        x = simulate(part.denoiser, step, part.starts, levels, draws, finish=finish)
        squares.append(mean_per_sample((x - part.ends).double() ** 2))
    square = torch.cat(squares)
    return Figures(float(square.mean().sqrt()), float(square.sqrt().median()))
