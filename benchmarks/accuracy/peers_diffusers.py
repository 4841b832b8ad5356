"""diffusers through its own schedulers, each given the exact output at the very σ that the scheduler is at.

Its grids round times to the 1,000 trained ones; a trained network would be asked at the rounded time, which costs it a
little more than is counted here. Flow spacings belong to another path and are not offered on these two.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
from torch import Tensor

from accuracy.problem import Problem

DEFAULT = "diffusers DPM++2M"
"""What a user gets from DPMSolverMultistepScheduler() without a choice, on VP."""

GRIDS = {
    "linspace": {},
    "trailing": {"timestep_spacing": "trailing"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}


def settings(problem: Problem) -> Iterator[tuple[str, Callable[[int], Tensor | None]]]:
    """(name, endpoints at n evaluations or None where n is impossible)."""
    yield from _preserving(problem) if problem.kind == "VP" else _exploding(problem)


def _preserving(problem: Problem) -> Iterator[tuple[str, Callable[[int], Tensor | None]]]:
    betas = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    yield DEFAULT, _on_sigmas(problem, diffusers.DPMSolverMultistepScheduler, betas)
    for spacing in ("leading", "linspace", "trailing"):
        options = betas | {"timestep_spacing": spacing, "clip_sample": False, "set_alpha_to_one": True}
        yield f"diffusers DDIM {spacing}", _ddim(problem, options)
    lu = {"use_lu_lambdas": True}
    for (grid, choice), end in itertools.product((*GRIDS.items(), ("lu", lu)), ("zero", "sigma_min")):
        ending = f"{grid}{'' if end == 'zero' else ' to sigma_min'}"
        options = betas | choice | {"final_sigmas_type": end}
        for order, euler in itertools.product((2, 3), (False, True)):
            name = f"diffusers DPM++{order}M {ending}{' euler end' if euler else ''}"
            extra = {"solver_order": order, "euler_at_final": euler}
            yield name, _on_sigmas(problem, diffusers.DPMSolverMultistepScheduler, options | extra)
        if end == "sigma_min":
            for order in (2, 3):
                extra = {"solver_order": order, "algorithm_type": "dpmsolver"}
                name = f"diffusers DPM{order}M {ending}"
                yield name, _on_sigmas(problem, diffusers.DPMSolverMultistepScheduler, options | extra)
        if grid == "lu":
            continue
        for order in (2, 3):
            extra = {"solver_order": order}
            name = f"diffusers UniPC{order} {ending}"
            yield name, _on_sigmas(problem, diffusers.UniPCMultistepScheduler, options | extra)
            if end == "sigma_min":
                plain = betas | choice | extra
                name = f"diffusers DEIS{order} {grid}"
                yield name, _on_sigmas(problem, diffusers.DEISMultistepScheduler, plain)


def _exploding(problem: Problem) -> Iterator[tuple[str, Callable[[int], Tensor | None]]]:
    high, low = problem.range
    base = {"sigma_min": low, "sigma_max": high, "sigma_data": problem.sigma_data}
    for schedule, end in itertools.product(("karras", "exponential"), ("zero", "sigma_min")):
        options = base | {"sigma_schedule": schedule, "final_sigmas_type": end}
        ending = f"{schedule}{'' if end == 'zero' else ' to sigma_min'}"
        yield f"diffusers EDM Euler {ending}", _edm(problem, diffusers.EDMEulerScheduler, options)
        for order, euler in itertools.product((2, 3), (False, True)):
            extra = {"solver_order": order, "euler_at_final": euler}
            name = f"diffusers EDM DPM++{order}M {ending}{' euler end' if euler else ''}"
            yield name, _edm(problem, diffusers.EDMDPMSolverMultistepScheduler, options | extra)


def _ddim(problem: Problem, options: dict[str, Any]) -> Callable[[int], Tensor | None]:
    def run(evaluations: int) -> Tensor:
        scheduler = diffusers.DDIMScheduler(**options)
        scheduler.set_timesteps(evaluations)
        x = problem.starts
        for t in scheduler.timesteps:
            bar = float(scheduler.alphas_cumprod[t])
            noise = _noise(problem, x, (1 / bar - 1) ** 0.5)
            x = scheduler.step(noise, t, x).prev_sample
        return x

    return run


def _on_sigmas(problem: Problem, kind: type, options: dict[str, Any]) -> Callable[[int], Tensor | None]:
    def run(evaluations: int) -> Tensor | None:
        scheduler = kind(**options)
        scheduler.set_timesteps(evaluations)
        if len(scheduler.timesteps) != evaluations:
            return None
        scheduler.set_begin_index(0)  # times repeat where many σ round to one
        x = problem.starts
        for i, t in enumerate(scheduler.timesteps):
            x = scheduler.step(_noise(problem, x, float(scheduler.sigmas[i])), t, x).prev_sample
        return x * (1 + float(scheduler.sigmas[-1]) ** 2) ** 0.5

    return run


def _edm(problem: Problem, kind: type, options: dict[str, Any]) -> Callable[[int], Tensor | None]:
    data = problem.sigma_data

    def run(evaluations: int) -> Tensor:
        scheduler = kind(**options)
        scheduler.set_timesteps(evaluations)
        scheduler.set_begin_index(0)
        x = problem.starts
        for i, t in enumerate(scheduler.timesteps):
            sigma = float(scheduler.sigmas[i])
            scheduler.scale_model_input(x, t)
            root = (sigma**2 + data**2) ** 0.5
            output = (problem.denoiser.mean(x, sigma) - x * data**2 / root**2) * root / (sigma * data)
            x = scheduler.step(output, t, x).prev_sample
        return x

    return run


def _noise(problem: Problem, x: Tensor, ratio: float) -> Tensor:
    """E[z | x] at σ/α = ratio on the variance-preserving path."""
    u = x * (1 + ratio**2) ** 0.5
    return (u - problem.denoiser.mean(u, ratio)) / ratio
