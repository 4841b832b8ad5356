"""The library's own samplers: the default one, and the one tuned to the model for 5, 8 and 10 evaluations."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from accuracy.problem import Problem
from pushforward.numerics.random import Draws
from pushforward.samplers.default import default_sampler
from pushforward.samplers.step import simulate
from pushforward.samplers.tuning import Effort, TuningResult, tune

TUNED_AT = (5, 8, 10)


def default(problem: Problem, evaluations: int) -> Tensor:
    sampler = default_sampler(problem.denoiser.path, evaluations, problem.sigma_data)
    draws = Draws.of(0, range(len(problem.starts)))
    return sampler.sample(problem.denoiser, problem.starts, evaluations, draws)


def tuned(problem: Problem, evaluations: int, effort: Effort) -> tuple[Tensor | None, TuningResult]:
    """Fitted in float32 to starts of its own; endpoints of the problem's starts, which it has not seen."""
    path, shape = problem.denoiser.path, problem.starts.shape[1:]
    single = replace(problem.denoiser, mixture=problem.denoiser.mixture.to(torch.float32))
    result = tune(
        single,
        evaluations,
        shape=shape,
        sigma_data=problem.sigma_data,
        effort=effort,
        seed=evaluations,
        dtype=torch.float32,
    )
    if result.sampler is None:
        return None, result
    draws = Draws.of(0, range(len(problem.starts)))
    return simulate(problem.denoiser, result.sampler, problem.starts, result.sampler.levels(path), draws), result
