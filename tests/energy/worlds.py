"""Densities whose samples, moments and normalising constants are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.denoisers.terminal import Moments
from pushforward.energy import GaussianBase, Point, target_of
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, GaussianPath, Level

LOG_Z = 3.7
PATH = EDM(sigma_min=0.02, sigma_max=20.0)


def mixture(dim: int, components: int = 3) -> Mixture:
    """Components of other widths in other places, two to four deviations apart."""
    draws = Draws.of(dim, range(components), "world")
    means = 2.5 * draws.at("means").normal((dim,), torch.float64) / math.sqrt(dim)
    shapes = 0.3 * draws.at("shapes").normal((dim, dim), torch.float64) / math.sqrt(dim)
    covariances = shapes @ shapes.transpose(1, 2) + 0.1 * torch.eye(dim, dtype=torch.float64)
    return Mixture.of_covariances(0.2 + draws.uniform((), torch.float64), means, covariances)


def unnormalised(world: Mixture, log_z: float = LOG_Z):
    """log p + log Z."""
    exact = MixtureDenoiser(world, PATH)
    return lambda x: exact.log_prob(x, CLEAN) + log_z


def fitted(world: Mixture) -> GaussianBase:
    return GaussianBase(Moments.of(world.mean(), world.covariance()), torch.float64)


@dataclass(frozen=True)
class NoisyMixture:
    """The exact energies of a mixture at every level, each with a constant of its own."""

    world: Mixture
    path: GaussianPath = PATH

    def point(self, x: Tensor, level: Level, /) -> Point:
        exact = MixtureDenoiser(self.world, self.path)
        return target_of(lambda at: exact.log_prob(at, level) + self.constant(level))(x)

    def constant(self, level: Level) -> float:
        return LOG_Z + 2 * math.sin(3 * float(level.log_ratio))
