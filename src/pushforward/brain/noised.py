"""From a first guess to a sample: noise it to a chosen strength, then denoise it (Meng et al. 2022)."""

from __future__ import annotations

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.samplers.default import Sampler
from pushforward.samplers.step import simulate, steps_for


def noised_levels(denoiser: Denoiser, sampler: Sampler, strength: float, evaluations: int) -> tuple[Level, ...]:
    """The last levels of a grid whose share `strength` costs `evaluations`: 1 is the whole way from noise.

    Raises UserError unless 0 < strength ≤ 1.
    """
    if not 0 < strength <= 1:
        raise UserError(f"the strength of the noise lies in (0, 1]: 1 forgets the first guess; got {strength}")
    steps = steps_for(sampler.step, denoiser.path, sampler.grid, evaluations, sampler.finish)
    total = max(steps, round(steps / strength))
    return sampler.grid(denoiser.path, total)[total - steps :]


def denoise_from(
    denoiser: Denoiser, guess: Tensor, sampler: Sampler, strength: float, evaluations: int, draws: Draws
) -> Tensor:
    """guess (B, …) mixed with fresh noise at the strength's level and taken to clean data: (B, …)."""
    levels = noised_levels(denoiser, sampler, strength, evaluations)
    start = denoiser.path.mix(guess, draws.at("strength").normal_like(guess), levels[0])
    return simulate(denoiser, sampler.step, start, levels, draws, finish=sampler.finish)
