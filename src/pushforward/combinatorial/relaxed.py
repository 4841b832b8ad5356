"""Tours under an image prior: the adjacency whose picture the prior likes best (Graikos et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pushforward.combinatorial.graph import whole
from pushforward.combinatorial.raster import Raster
from pushforward.combinatorial.tsp import TravellingSalesman
from pushforward.denoisers.denoiser import Denoiser
from pushforward.numerics.random import Draws
from pushforward.plugplay.constraint import nothing
from pushforward.plugplay.energy import DenoisingEnergy, Energy
from pushforward.plugplay.schedule import Annealed
from pushforward.plugplay.solve import Descent, Seen

USUAL = Descent(steps=192, rate=0.2, betas=(0.5, 0.9), schedule=Annealed(10.0, 0.1, wobble=0.2))
"""Few enough steps for a processor; the published 256 at rate 1 are of logits scaled by 0.1."""


@dataclass(frozen=True, eq=False)
class RelaxedTours:
    """x = h(η): logits of pairs (B, E) to how far each pair is an edge, to a picture; η descends the prior's energy.

    Published are n × n logits with a softmax in each row, whose A + Aᵀ is decoded; here the two logits of a pair are
    one, since the picture of an edge has no direction.
    """

    raster: Raster
    descent: Descent = USUAL

    def heat(
        self,
        denoiser: Denoiser,
        problem: TravellingSalesman,
        draws: Draws,
        *,
        energy: Callable[[Denoiser], Energy] = DenoisingEnergy,
        watch: Callable[[int, np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """Degrees of membership (B, n, n) after the descent; `watch` is shown (step, degrees) on the way."""
        n, device = problem.sites[0], draws.base.device
        edges, discs = (part(problem.cities).to(device) for part in (self.raster.edges, self.raster.discs))
        h = partial(self._picture, edges, discs, n)
        start = 0.1 * draws.at("start").normal((n * (n - 1) // 2,))

        def told(seen: Seen) -> None:
            if watch is not None:
                watch(seen.step, whole(degrees(seen.eta, n).cpu().numpy(), n))

        eta = self.descent(energy(denoiser), nothing, start, draws, h=h, watch=told)
        return whole(degrees(eta, n).double().cpu().numpy(), n)

    def _picture(self, edges: Tensor, discs: Tensor, n: int, eta: Tensor) -> Tensor:
        return self.raster.relaxed(degrees(eta, n), edges, discs)


def degrees(logits: Tensor, n: int) -> Tensor:
    """Logits of pairs (B, E) to how far each is an edge (B, E): the softmaxes at its two ends added; together n."""
    first, second = torch.triu_indices(n, n, 1, device=logits.device)
    full = logits.new_full((len(logits), n, n), -torch.inf)
    full[:, first, second] = logits
    full[:, second, first] = logits
    rows = torch.softmax(full, -1)
    return rows[:, first, second] + rows[:, second, first]
