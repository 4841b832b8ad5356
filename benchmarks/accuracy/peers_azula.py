"""azula through its own Schedule, Denoiser and Sampler classes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from azula import sample
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule
from torch import Tensor

from accuracy.problem import Problem

Curve = Callable[[Tensor], Tensor]


class Grid(Schedule):
    """α and σ of the problem's path with t uniform in the variable that the grid is uniform in."""

    def __init__(self, ratio: Curve, preserving: bool) -> None:
        self.ratio, self.preserving = ratio, preserving

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        ratio = self.ratio(t)
        alpha = torch.rsqrt(1 + ratio**2) if self.preserving else torch.ones_like(ratio)
        return alpha, ratio * alpha


class Oracle(Denoiser):
    def __init__(self, problem: Problem, schedule: Schedule) -> None:
        super().__init__()
        self.problem, self.schedule = problem, schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        alpha, sigma = self.schedule(t)
        return DiracPosterior(self.problem.denoiser.mean(x_t / alpha, float(sigma / alpha)))


def grids(problem: Problem) -> dict[str, Curve]:
    high, low = problem.range
    path = problem.denoiser.path
    power = 7.0

    def karras(t: Tensor) -> Tensor:
        return (low ** (1 / power) + t * (high ** (1 / power) - low ** (1 / power))) ** power

    def in_time(warp: Callable[[Tensor], Tensor]) -> Curve:
        return lambda t: torch.exp(-path.log_ratio(warp(t)))

    def between(t: Tensor) -> Tensor:
        return path.t_min + t * (path.t_max - path.t_min)

    found = {"log": lambda t: torch.exp(math.log(low) + t * math.log(high / low)), "karras": karras}
    if problem.kind == "VP":
        found["uniform"] = in_time(between)
        found["quadratic"] = in_time(lambda t: (path.t_min**0.5 + t * (path.t_max**0.5 - path.t_min**0.5)) ** 2)
    return found


MULTISTEP = {
    "zAB": sample.zABSampler,
    "vAB": sample.vABSampler,
    "zEAB": sample.zEABSampler,
    "xEAB": sample.xEABSampler,
    "REAB": sample.REABSampler,
}
SINGLE = {"DDIM": (sample.DDIMSampler, 1), "Heun": (sample.HeunSampler, 2)}


def settings(problem: Problem) -> Iterator[tuple[str, Callable[[int], Tensor | None]]]:
    """(name, endpoints at n evaluations or None where n is impossible)."""
    for (grid, curve), denoise in itertools.product(grids(problem).items(), (False, True)):
        ending = f"{grid}{' + denoise' if denoise else ''}"
        for name, kind in MULTISTEP.items():
            for order in (2, 3, 4):
                yield f"azula {name}{order} {ending}", _runner(problem, curve, denoise, kind, 1, order=order)
        for name, (kind, cost) in SINGLE.items():
            yield f"azula {name} {ending}", _runner(problem, curve, denoise, kind, cost)


def _runner(
    problem: Problem, curve: Curve, denoise: bool, kind: type, cost: int, **options: int
) -> Callable[[int], Tensor | None]:
    schedule = Grid(curve, problem.kind == "VP")
    oracle = Oracle(problem, schedule)

    def run(evaluations: int) -> Tensor | None:
        spent = evaluations - denoise
        if spent < cost or spent % cost:
            return None
        steps = spent // cost
        sampler = kind(oracle, steps=steps, silent=True, dtype=torch.float64, **options)
        x = sampler(problem.starts)
        end = torch.zeros((), dtype=torch.float64)
        return oracle(x, end).mean if denoise else x / schedule(end)[0]

    return run
