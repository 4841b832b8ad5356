"""Two ways from what ridge says to draws of the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pushforward.brain.decoder import Decoder
from pushforward.brain.noised import denoise_from
from pushforward.brain.prior import Prior
from pushforward.numerics.random import Draws
from pushforward.posterior import Question, SplitGibbs, infer
from pushforward.samplers.default import Sampler

Said = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Task:
    """What was decoded of some trials: components (m, k), the classes (m,) or None, and how to be guided by them."""

    prior: Prior
    decoder: Decoder
    said: np.ndarray
    classes: Tensor | None
    guidance: float = 1.0
    at_once: int = 256

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
            labels = None if task.classes is None else task.classes[item].to(device)
            draws = _draws(seed, part, count, device)
            denoiser = task.prior.given(labels, task.guidance)
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
        labels = None if task.classes is None else task.classes.to(device)
        question = Question(
            task.prior.given(labels, task.guidance), likelihood, task.decoder.components.shape, len(task), device=device
        )
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
