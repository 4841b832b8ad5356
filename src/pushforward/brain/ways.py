"""Two ways from what ridge says to draws of the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pushforward.brain.decoder import Decoder
from pushforward.brain.noised import denoise_from
from pushforward.brain.prior import Prior
from pushforward.denoisers.denoiser import Denoiser
from pushforward.numerics.random import Draws
from pushforward.posterior import Question, SplitGibbs, infer
from pushforward.samplers.default import Sampler

Said = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Task:
    """What was decoded of some trials: components (m, k), classes (m,) or None, and how to be guided by what is told.

    `told` are real conditions by name, (m, …) each.
    """

    prior: Prior
    decoder: Decoder
    said: np.ndarray
    classes: Tensor | None
    guidance: float = 1.0
    at_once: int = 256
    told: Mapping[str, Tensor] = field(default_factory=dict)

    def denoiser(self, trials: Tensor) -> Denoiser:
        """The prior told what was decoded of these trials (B,)."""
        device = self.prior.device
        labels = None if self.classes is None else self.classes[trials].to(device)
        told = {name: value[trials].to(device) for name, value in self.told.items()}
        return self.prior.given(labels, self.guidance, told, len(trials))

    def __len__(self) -> int:
        return len(self.said)


class Way(Protocol):
    """Draws of the latent of each trial."""

    def __call__(self, task: Task, samples: int, seed: int, progress: Said | None = None, /) -> Tensor:
        """(samples, m, *latent), on the CPU; sample j of trial i is the same in any company."""
        ...


@dataclass(frozen=True)
class Noised:
    """Takagi & Nishimoto's (2023): the ridge latent, noised to a strength and denoised with the condition."""

    strength: float
    sampler: Sampler
    evaluations: int = 20

    @torch.no_grad()
    def __call__(self, task: Task, samples: int, seed: int, progress: Said | None = None, /) -> Tensor:
        guess, device = task.decoder.components.decode(task.said), task.prior.device
        count = len(task)
        rows = torch.arange(samples * count)
        parts = []
        for part in rows.split(task.at_once):
            item = part % count
            draws = _draws(seed, part, count, device)
            denoiser = task.denoiser(item)
            start = guess[item].to(device)
            parts.append(denoise_from(denoiser, start, self.sampler, self.strength, self.evaluations, draws).cpu())
            if progress:
                progress(int(part[-1]) + 1, len(rows))
        return torch.cat(parts).unflatten(0, (samples, count))


@dataclass(frozen=True)
class Exact:
    """Draws of p(picture | what ridge says) by noise splitting: no strength is chosen, a Gaussian world is exact."""

    evaluations: int = 300
    inner: int = 10

    @torch.no_grad()
    def __call__(self, task: Task, samples: int, seed: int, progress: Said | None = None, /) -> Tensor:
        likelihood = task.decoder.measured.likelihood(task.said, task.decoder.components)
        device = task.prior.device
        shape, denoiser = task.decoder.components.shape, task.denoiser(torch.arange(len(task)))
        question = Question(denoiser, likelihood, shape, len(task), device=device)
        method = SplitGibbs(inner=self.inner, start=max(1, math.ceil(self.evaluations / 10)))
        answer = infer(
            method,
            question,
            samples=samples,
            evaluations=self.evaluations,
            seed=seed,
            at_once=task.at_once,
            observe=None if progress is None else lambda step: progress(step.step, step.total),
        )
        return answer.samples.cpu()


def _draws(seed: int, rows: Tensor, count: int, device: torch.device) -> Draws:
    """Sample j of trial i has a key of (seed, j, i), whatever the other trials are."""
    made = [Draws.of(seed, [int(row) % count], "brain", device).at("sample", int(row) // count) for row in rows]
    return Draws(torch.cat([one.base for one in made]), torch.cat([one.index for one in made]))
