"""From a given item instead of from noise: noised to a level, then sampled from there (Meng et al. 2022, "SDEdit")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.below import Below
from pushforward.samplers.default import Sampler, default_sampler, deviation
from pushforward.samplers.step import Observer, simulate, steps_for


@dataclass(frozen=True, eq=False)
class FromItems:
    """Sampling that begins at α x̂ + σ z with x̂ given: what is finer than the noise is drawn anew, the rest is kept.

    Exact for an item drawn from the data: noised and sampled from there it is one again. An item that is none is pulled
    to the data, the more the noise; a condition decides what it is pulled to.

    Args:
        start: items (1 or N, …) in the denoiser's space; sample i of a seed takes entry i modulo N.
        noise: σ/α where sampling begins, in units of the data.
        sampler: whose step and grid are used, the usual one for the evaluations unless given.
    """

    start: Tensor
    noise: float
    sampler: Sampler | None = None

    def __post_init__(self) -> None:
        if not (self.noise > 0 and math.isfinite(self.noise)):
            raise UserError(f"the noise at which an edit begins is a number above 0; got {self.noise}")
        if not bool(self.start.isfinite().all()):
            raise UserError("the items to begin with have values that are not finite: remove or fill them")

    def sample(
        self, denoiser: Denoiser, x: Tensor, evaluations: int, draws: Draws, observe: Observer | None = None
    ) -> Tensor:
        """Draw from the items' neighbourhoods; x: (B, …) is the noise, scaled to t_max. Raises UserError for shapes."""
        path = denoiser.path
        start = self.start.to(x)[draws.index % len(self.start)]
        if start.shape != x.shape:
            raise UserError(
                f"the items to begin with have the shape {tuple(start.shape[1:])}, and the model's have "
                f"{tuple(x.shape[1:])}"
            )
        top = path.level(path.t_max)
        if self.noise >= top.ratio:
            raise UserError(f"the noise {self.noise:g} is not below the {top.ratio:g} where this model's path begins")
        t0 = float(path.time(torch.tensor(-math.log(self.noise), dtype=torch.float64)))
        below = Below(path, t0)
        rule = self.sampler or default_sampler(path, evaluations, deviation(denoiser))
        levels = rule.grid(below, steps_for(rule.step, below, rule.grid, evaluations, rule.finish))
        state = path.mix(start, x / top.sigma, levels[0])
        return simulate(denoiser, rule.step, state, levels, draws, finish=rule.finish, observe=observe)
