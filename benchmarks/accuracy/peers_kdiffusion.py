"""k_diffusion.sampling alone: the package drags in far more than its samplers need, so the one file is loaded."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from accuracy.problem import Problem


@cache
def load() -> types.ModuleType:
    """The installed k_diffusion/sampling.py, under a package without its __init__."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("k_diffusion is not installed")
    folder = found.submodule_search_locations[0]
    package = types.ModuleType("k_diffusion")
    package.__path__ = [folder]
    package.utils = types.ModuleType("k_diffusion.utils")
    package.utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    package.utils.append_zero = lambda x: torch.cat([x, x.new_zeros([1])])
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": package.utils}
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", f"{folder}/sampling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["k_diffusion.sampling"] = module
    spec.loader.exec_module(module)
    return module


def settings(problem: Problem) -> Iterator[tuple[str, Callable[[int], Tensor | None]]]:
    """(name, endpoints at n evaluations or None where n is impossible). In u = x/α and ρ = σ/α, where it lives."""
    k = load()
    high, low = problem.range
    grids = {
        "karras": lambda n: k.get_sigmas_karras(n, low, high),
        "exponential": lambda n: k.get_sigmas_exponential(n, low, high),
        "polyexponential": lambda n: k.get_sigmas_polyexponential(n, low, high, 0.7),
    }
    if problem.kind == "VP":
        grids["vp"] = lambda n: k.get_sigmas_vp(n, beta_d=19.9, beta_min=0.1, eps_s=1e-3)
    samplers = {
        "Euler": (k.sample_euler, 1),
        "Heun": (k.sample_heun, 2),
        "DPM2": (k.sample_dpm_2, 2),
        "LMS": (k.sample_lms, 1),
        "DPM++2M": (k.sample_dpmpp_2m, 1),
    }
    for grid, sigmas in grids.items():
        for name, (sampler, cost) in samplers.items():
            yield f"k-diffusion {name} {grid}", _runner(problem, sampler, sigmas, cost)


def _runner(
    problem: Problem, sampler: Callable, sigmas: Callable[[int], Tensor], cost: int
) -> Callable[[int], Tensor | None]:
    def denoise(u: Tensor, sigma: Tensor) -> Tensor:
        return problem.denoiser.mean(u, float(sigma[0]))

    def run(evaluations: int) -> Tensor | None:
        # second-order methods spend one evaluation on their last step, into σ = 0
        if cost == 2 and evaluations % 2 == 0:
            return None
        steps = evaluations if cost == 1 else (evaluations + 1) // 2
        grid = sigmas(steps).double()
        start = problem.starts / problem.top.alpha / problem.top.ratio * grid[0]  # its first level, to rounding
        return sampler(denoise, start, grid, disable=True)

    return run
