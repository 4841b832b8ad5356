"""A trained denoiser as a differentiable energy of x: how far x is from what the prior would draw.

Two energies, which are the same bound of −log p seen from two sides. With q_λ = N(αx, σ²) the noised point and p_λ the
noised data, d KL(q_λ ‖ p_λ)/dλ = E‖z − ẑ‖², so that the errors summed up to a level are the divergence at that level:

    ∫_{−∞}^{λ} E‖z − ẑ‖² dλ′ = KL(q_λ ‖ p_λ),      ∇_x KL(q_λ ‖ p_λ) = (α/σ) E[ẑ − z].

The left side is differentiated through the network (`DenoisingEnergy`, Graikos et al. 2022), the right one needs no
derivative of it (`SmoothedEnergy`; score distillation, Poole et al. 2023, is its gradient): a third of the time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.numerics.broadcast import expand, sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.plugplay.weighting import Cells, Weighting, elbo


class Energy(ABC):
    """A function of x (B, …) whose gradient leads to what the prior would draw: random, and right on the average."""

    denoiser: Denoiser

    @abstractmethod
    def everywhere(self, x: Tensor, draws: Draws) -> Tensor:
        """One draw of F(x) over all levels: (B,)."""

    @abstractmethod
    def at(self, x: Tensor, level: Level, draws: Draws) -> Tensor:
        """The energy as one level of noise sees it, which is smoother the more noise there is: (B,)."""


@dataclass(frozen=True, eq=False)
class DenoisingEnergy(Energy):
    """F(x) = Σ_k w_k E‖z − ẑ(α_k x + σ_k z)‖², differentiated through the denoiser.

    With `elbo` weights F is −log p(x) up to a constant, or bounds it where the denoiser is not exact. `pairs` takes
    z and −z together: twice the evaluations, without the part of the gradient's noise that is odd in z.
    `at` weighs one level as if it stood for all: which levels are met how often is then the schedule's choice.
    """

    denoiser: Denoiser
    weighting: Weighting = elbo
    pairs: bool = False

    def everywhere(self, x: Tensor, draws: Draws) -> Tensor:
        cells = self.cells(_size(x))
        return cells.total * self._error(x, cells.draw(draws.at("level")), draws)

    def at(self, x: Tensor, level: Level, draws: Draws) -> Tensor:
        return self.cells(_size(x)).total * self._error(x, level, draws)

    def whole(self, x: Tensor, draws: Draws, count: int = 64) -> Tensor:
        """F(x) with every one of `count` cells of levels evaluated: (B,), random in z alone."""
        cells = Cells.of(self.denoiser.path, self.weighting, _size(x), count)
        terms = zip(cells.weights.tolist(), cells.middles(), strict=True)
        return torch.stack([w * self._error(x, level, draws.at(k)) for k, (w, level) in enumerate(terms)]).sum(0)

    def cells(self, size: int) -> Cells:
        """The levels and their weights, for items of so many coordinates."""
        if size not in self._cells:
            self._cells[size] = Cells.of(self.denoiser.path, self.weighting, size)
        return self._cells[size]

    @cached_property
    def _cells(self) -> dict[int, Cells]:
        return {}

    def _error(self, x: Tensor, level: Level, draws: Draws) -> Tensor:
        z = draws.at("noise").normal_like(x)
        found = squared_error(self.denoiser, x, level, z)
        return (found + squared_error(self.denoiser, x, level, -z)) / 2 if self.pairs else found


@dataclass(frozen=True, eq=False)
class SmoothedEnergy(Energy):
    """KL(N(αx, σ²) ‖ p_λ) at a level, whose gradient (α/σ)(ẑ − z) stops at the network.

    Only its gradient is known, not its height: what is returned has that gradient and the value ‖z − ẑ‖². Everywhere is
    the path's least noise, where it is the whole bound; there the gradient is noisy, so that it is best annealed.
    """

    denoiser: Denoiser
    pairs: bool = False

    def everywhere(self, x: Tensor, draws: Draws) -> Tensor:
        return self.at(x, self.denoiser.path.level(self.denoiser.path.t_min), draws)

    def at(self, x: Tensor, level: Level, draws: Draws) -> Tensor:
        z = draws.at("noise").normal_like(x)
        found = self._told(x, level, z)
        return (found + self._told(x, level, -z)) / 2 if self.pairs else found

    def _told(self, x: Tensor, level: Level, z: Tensor) -> Tensor:
        with torch.no_grad():
            surprise = self.denoiser.estimate(self.denoiser.path.mix(x, z, level), level).noise - z
            gradient = expand(level.alpha / level.sigma, x) * surprise
        return sum_per_sample(surprise.square()) + sum_per_sample(gradient * (x - x.detach()))


def squared_error(denoiser: Denoiser, x: Tensor, level: Level, z: Tensor) -> Tensor:
    """‖z − ẑ(αx + σz)‖² of each item: (B,)."""
    return sum_per_sample((denoiser.estimate(denoiser.path.mix(x, z, level), level).noise - z).square())


def _size(x: Tensor) -> int:
    return x[0].numel() if len(x) else 1
