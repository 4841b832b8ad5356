"""Fitting a `Tuned` sampler to one model, from the first start to the verdict.

Several beginnings run for a short while, the best on a validation split runs on; other starts, never used before,
decide whether the result helps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import key
from pushforward.samplers.tuning.beginnings import SHAPES, beginnings
from pushforward.samplers.tuning.effort import USUAL, Clock, Effort, Report
from pushforward.samplers.tuning.fitting import best_beginning, fit
from pushforward.samplers.tuning.judging import TuningResult, judged
from pushforward.samplers.tuning.starts import Conditions, TaskMaker


def tune(
    denoiser: Denoiser,
    evaluations: int,
    *,
    shape: Sequence[int],
    sigma_data: float,
    effort: Effort = USUAL,
    seed: int = 0,
    conditions: Conditions | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Report | None = None,
) -> TuningResult:
    """The best times and coefficients for this model at n evaluations; None, with the reason, where they do not help.

    Args:
        denoiser: an exact one or a network, which must be in evaluation mode; no condition bound but by `conditions`.
        evaluations: n, at least 2.
        shape: of one sample, without the batch.
        sigma_data: the data's standard deviation in model units.
        conditions: binds conditions to the starts, for conditional models.
        device, dtype: of the states.
        progress: called with (done, total, seconds left).

    The result is the same for the same seed. Raises UserError for evaluations < 2.
    """
    if evaluations < 2:
        raise UserError(f"tuning needs at least 2 evaluations; got {evaluations}")
    clock = Clock(effort, evaluations, len(SHAPES), progress)
    place = torch.empty(0, dtype=dtype, device=device)
    make = TaskMaker(denoiser, tuple(shape), sigma_data, effort, seed, conditions, place, clock)
    train, check = make("starts", effort.starts), make("validation", effort.validation)
    best = best_beginning(train, check, beginnings(train, evaluations, sigma_data), effort, seed, clock)
    fit(best, train, effort.steps, effort, key(seed, "tune", "final"), clock)
    sampler = best.sampler(float(denoiser.path.level(denoiser.path.t_max).ratio))
    return judged(sampler, make("held out", effort.held_out), evaluations, sigma_data, effort)
