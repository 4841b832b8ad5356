"""An energy at every noise level whose gradient is a Denoiser.

For a prediction with noise = n_x x + n_f F and input scale c, the field F = ∇Φ at c x makes the noise, and so the score
−noise/σ, the gradient of

    E(x, σ) = n_x/(2σ) ‖x‖² + n_f/(cσ) Φ(c x, time),

with EDM prediction ½‖u‖² − (ασ_d/σ) Φ(u), u = x/√(α²σ_d² + σ²). Training by the denoising loss is then denoising score
matching of −∇E at all levels, and every sampler, guidance, likelihood and inverse solver works on an energy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.variance import WithVariance
from pushforward.energy.point import Point, target_of
from pushforward.errors import UserError
from pushforward.networks.energy import Gradient
from pushforward.numerics.broadcast import batch_of, expand, sum_per_sample
from pushforward.paths.gaussian import Level
from pushforward.samplers.step import Recorder


@dataclass(frozen=True)
class EnergyDenoiser(NetworkDenoiser):
    """A `NetworkDenoiser` whose network is a `Gradient`: its estimates belong to an energy that can be evaluated."""

    network: Gradient

    def energy(self, x: Tensor, level: Level) -> Tensor:
        """E(x, σ) in nats, up to a constant per level: (B, …) -> (B,), differentiable."""
        reading, scale = self.prediction.reading(level), self.prediction.input_scale(level)
        time = batch_of(self.time(level), len(x), x.device)
        potential = self.network.potential(x * expand(scale, x), time, **self.conditions)
        square = sum_per_sample(x.square())
        along_x, along_f = reading.noise_x / (2 * level.sigma), reading.noise_f / (scale * level.sigma)
        return expand(along_x, square) * square + expand(along_f, potential) * potential

    def point(self, x: Tensor, level: Level) -> Point:
        """x with −E(x, σ) and its gradient, the score, from one pass through the network."""
        # no derivative may go through conditions made in inference mode, which samplers run in
        with torch.inference_mode(False):
            given = {name: value.clone() if value.is_inference() else value for name, value in self.conditions.items()}
        free = replace(self, conditions=given)
        return target_of(lambda at: -free.energy(at, level))(x)


def energy_of(denoiser: Denoiser) -> EnergyDenoiser:
    """The energy of a denoiser, watched or with its variance known. Raises UserError for one that has none."""
    inner = denoiser
    while isinstance(inner, WithVariance | Recorder):
        inner = inner.inner
    if isinstance(inner, EnergyDenoiser):
        return inner
    raise UserError(
        f"a Metropolis test needs a model with an energy, such as NoisyEnergyModel; {type(inner).__name__} has only a "
        "score: use Langevin, which makes no test"
    )
