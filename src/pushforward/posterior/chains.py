"""What chains leave behind: where they are, and the course of a few numbers that say whether they have mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.solve import dots, noise_like
from pushforward.numerics.broadcast import sum_per_sample

_PROJECTIONS = 2
_RATE = 2.0
"""How fast a move's scale follows its acceptance."""


class Chains(NamedTuple):
    """States x (B, …) with traces (sweeps, B, Q); acceptance (B,) where moves are tested, σ (B,) where it is drawn."""

    x: Tensor
    trace: Tensor
    accepted: Tensor | None = None
    sigma: Tensor | None = None


@dataclass
class Watched:
    """Sum, two fixed random projections and log p(y | x) (or log σ, where σ is drawn), after each sweep."""

    directions: tuple[Tensor, ...]
    rows: list[Tensor] = field(default_factory=list)

    @staticmethod
    def of(x: Tensor) -> Watched:
        return Watched(tuple(noise_like(x[:1], "watched", i) for i in range(_PROJECTIONS)))

    def look(self, x: Tensor, likelihood: Likelihood, sigma: Tensor | None) -> None:
        last = likelihood.log_prob(x) if sigma is None else sigma.log()
        along = [dots(x, direction.expand_as(x)) for direction in self.directions]
        self.rows.append(torch.stack([sum_per_sample(x.real if x.is_complex() else x), *along, last.to(x.real)], 1))

    def trace(self) -> Tensor:
        if not self.rows:
            raise UserError("nothing was watched: every sweep was spent on cooling")
        return torch.stack(self.rows).double()


def rescaled(scale: Tensor, accepted: Tensor, wanted: float, i: int) -> Tensor:
    """Each chain's scale (B,) after its move i, counted from 0: by e^{rate·(accepted − wanted)/√(i + 1)}."""
    return scale * (_RATE * (accepted - wanted) / math.sqrt(i + 1)).to(scale).exp()
