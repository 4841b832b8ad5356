"""Discrete diffusion over the marks of a solution, told the instance (DIFUSCO: Sun & Yang 2023).

Each site of a solution, an edge of a tour or a node of a set, is a symbol 0 or 1 that the uniform chain flips; the
network, told the instance, says how likely each mark was 1. The heat is its last answer on the way back from noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.combinatorial.features import Features, features_of
from pushforward.combinatorial.problem import Problem
from pushforward.data.dataset import Batch
from pushforward.denoisers.categorical import CategoricalEstimate, NetworkJumpDenoiser
from pushforward.errors import UserError
from pushforward.networks.graph import GraphNet
from pushforward.numerics.random import Draws
from pushforward.objectives.jump import EVEN_TIMES, auxiliary
from pushforward.paths.amounts import LogLinear
from pushforward.paths.generators import UniformJumps
from pushforward.paths.grids import check_steps
from pushforward.paths.jump import JumpPath
from pushforward.samplers.jump import JumpAncestral, simulate_jumps

PATH = JumpPath(UniformJumps(2), LogLinear())
"""Marks flip until, at t = 1, nothing is left of them; what is retained falls linearly in t."""
_LAST = 0.5
"""The time of the last answer. Sites are drawn each by itself, so a chain that goes on to t = 0 ends sure of marks that
do not fit one another; half way, some answers averaged, tours are decoded better (benchmarks/RESULTS.md)."""
FEATURES = "features"
"""The condition of a batch that tells the instances: (B, n, n, F)."""


class GraphDiffusion(nn.Module):
    """A graph network trained to see through flipped marks, which the training engine trains as any other model.

    The loss is the cross-entropy of the marks at an even time, in nats per site, as published. `features` tell the
    network an instance; a problem of your own brings its own.
    """

    def __init__(self, network: GraphNet, features: Features = features_of) -> None:
        super().__init__()
        self.network, self.features = network, features

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        return {"loss": self.parameters()}

    def denoiser(self, features: Tensor) -> NetworkJumpDenoiser:
        """The network as a denoiser of marks that knows its instances (B, n, n, F)."""
        return NetworkJumpDenoiser(PATH, cast(nn.Module, partial(self.network, features=features)))

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        if FEATURES not in batch.conditions:
            raise UserError("a graph model learns solved instances: their marks and the features of the instances")
        x0 = batch.values
        level = PATH.level(EVEN_TIMES(cast(Any, PATH), draws.at("time")).t)
        x = PATH.corrupt(x0, level, draws.at("corrupt"))
        return auxiliary(self.denoiser(batch.conditions[FEATURES]).estimate(x, level), x0) / x0.shape[1]

    @torch.no_grad()
    def heat(self, problem: Problem, draws: Draws, steps: int = 10, repeats: int = 1) -> np.ndarray:
        """How likely each site is marked: (B, *sites); the mean over `repeats` ways back from noise."""
        check_steps(repeats)
        found = [self.trace(problem, draws.at("repeat", i), steps)[-1] for i in range(repeats)]
        return np.mean(found, axis=0)

    @torch.no_grad()
    def trace(self, problem: Problem, draws: Draws, steps: int = 10) -> list[np.ndarray]:
        """The heat after each step on the way back: `steps` arrays (B, *sites)."""
        check_steps(steps)
        device = next(self.parameters()).device
        features = self.features(problem).to(device)
        denoiser, draws = self.denoiser(features), Draws(draws.base.to(device), draws.index)
        n = features.shape[1]
        sites = n * (n - 1) // 2 if self.network.of_pairs else n
        levels = PATH.levels(torch.linspace(1.0, _LAST, steps, dtype=torch.float64))
        x = PATH.prior(draws.at("prior"), (sites,))
        heats = [_probability(denoiser.estimate(x, levels[0]))]
        for i in range(1, steps):
            x = simulate_jumps(denoiser, JumpAncestral(), x, levels[i - 1 : i + 1], draws.at("step", i))
            heats.append(_probability(denoiser.estimate(x, levels[i])))
        return [whole(heat, n) if self.network.of_pairs else heat for heat in heats]


def _probability(estimate: CategoricalEstimate) -> np.ndarray:
    return estimate.probabilities[..., 1].double().cpu().numpy()


def halved(marks: np.ndarray) -> np.ndarray:
    """Symmetric marks (B, n, n) as those of pairs i < j: (B, n(n − 1)/2)."""
    first, second = np.triu_indices(marks.shape[1], 1)
    return marks[:, first, second]


def whole(pairs: np.ndarray, n: int) -> np.ndarray:
    """Numbers of pairs (B, n(n − 1)/2) as a symmetric (B, n, n), 0 on the diagonal."""
    first, second = np.triu_indices(n, 1)
    out = np.zeros((len(pairs), n, n), dtype=pairs.dtype)
    out[:, first, second] = out[:, second, first] = pairs
    return out
