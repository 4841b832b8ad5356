"""What a tuned sampler is fitted to: starts with the endpoints that a fine solver finds for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.numerics.random import Draws
from pushforward.samplers.default import default_sampler
from pushforward.samplers.tuning.effort import Clock, Effort

Conditions = Callable[[Draws], Mapping[str, Tensor]]
"""Draws of the starts -> what is bound to each by `given`, e.g. a label drawn from the model's classes."""


class Task(NamedTuple):
    """Starts with their endpoints, and the denoiser with the conditions of each bound."""

    denoiser: Denoiser
    starts: Tensor
    ends: Tensor

    def rows(self, index: Tensor) -> Task:
        return Task(self.denoiser.rows(index), self.starts[index], self.ends[index])


@dataclass(frozen=True)
class TaskMaker:
    denoiser: Denoiser
    shape: tuple[int, ...]
    sigma_data: float
    effort: Effort
    seed: int
    conditions: Conditions | None
    place: Tensor  # of the dtype and on the device of the states
    clock: Clock

    @torch.no_grad()
    def __call__(self, stream: str, count: int) -> Task:
        """`count` starts of a stream of their own, with endpoints by the default sampler with many evaluations."""
        draws = Draws.of(self.seed, range(count), f"tune {stream}", self.place.device)
        bound = self.denoiser.given(**self.conditions(draws)) if self.conditions else self.denoiser
        path = self.denoiser.path
        x = path.prior(draws.at("prior").normal(self.shape, self.place.dtype))
        fine = default_sampler(path, self.effort.reference, self.sigma_data)
        ends = []
        for rows in torch.arange(count, device=self.place.device).split(self.effort.batch):
            ends.append(fine.sample(bound.rows(rows), x[rows], self.effort.reference, draws[rows]))
            self.clock.add(len(rows) * self.effort.reference)
        return Task(bound, x, torch.cat(ends))
