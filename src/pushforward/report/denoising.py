"""What a sampler does, recorded step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.models.denoising import DiffusionGenerator
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.report.scales import number
from pushforward.samplers.step import Progress


@dataclass(frozen=True, eq=False)
class Frame:
    """A state x_t of the sampler and the model's guess E[x_0 | x_t] there, both (B, …) on the CPU."""

    ratio: Scalar
    state: Tensor
    guess: Tensor


@dataclass(frozen=True, eq=False)
class Recording:
    """The frames of a sampling run from noise to data, and the samples (B, …) that it ended in."""

    frames: tuple[Frame, ...]
    samples: Tensor

    def chosen(self, most: int) -> tuple[Frame, ...]:
        """At most `most` frames spread evenly over the run, the first and the last among them."""
        if len(self.frames) <= most:
            return self.frames
        at = torch.linspace(0, len(self.frames) - 1, most).round().long().tolist()
        return tuple(self.frames[i] for i in at)


def record(
    generator: DiffusionGenerator, labels: Tensor | None, steps: int | None, seed: int, guidance: float, n: int
) -> Recording:
    """Sample n items, the first n of the seed, and keep what was seen at every step.

    States are scaled to the data's own contrast, x·σ_d/√(α²σ_d² + σ²), so that heavy noise can be looked at.
    """
    frames: list[Frame] = []
    sigma_data = generator.model.prediction.sigma_data

    def observe(progress: Progress) -> None:
        estimate = progress.estimate
        if estimate is not None:
            state = estimate.x * expand(_contrast(estimate.level, sigma_data), estimate.x)
            frames.append(Frame(estimate.level.ratio, state.cpu(), estimate.mean.cpu()))

    draws = Draws.of(seed, range(n), device=generator.model.device)
    samples = generator.draw(draws, labels, steps, guidance, observe=observe)
    return Recording(tuple(frames), samples.cpu())


def noise_of(ratio: Scalar) -> str:
    """σ/α for a reader."""
    value = float(torch.as_tensor(ratio).reshape(-1)[0])
    return number(value, 2) if math.isfinite(value) else "all"


def _contrast(level: Level, sigma_data: float) -> Scalar:
    return sigma_data / ((level.alpha * sigma_data) ** 2 + level.sigma**2) ** 0.5
