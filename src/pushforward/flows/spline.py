"""Monotone rational-quadratic splines with linear tails (Gregory & Delbourgo 1982; Durkan et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.flows.spline_bins import pulled_plainly
from pushforward.flows.spline_gradient import mapped


@dataclass(frozen=True)
class Spline:
    """y(x) on [−bound, bound] through `bins` bins, the identity outside, with slope 1 where they meet.

    Parameters (3·bins − 1, …): logits of the widths, logits of the heights, log-slopes r at the inner knots, read as
    d = exp(r/(1 + |r|/L)) with L = −log smallest. In a bin of chord slope s, with θ = (x − x_k)/w_k,

        y = y_k + h (s θ² + d_k θ(1−θ)) / (s + (d_k + d_{k+1} − 2s) θ(1−θ)).

    `smallest` bounds widths and heights (as parts of the interval) and slopes from below, its inverse the slopes from
    above.
    """

    bins: int = 8
    bound: float = 5.0
    smallest: float = 1e-3

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise UserError(f"A spline needs at least 2 bins; got {self.bins}.")
        if not 0 < self.bound < math.inf:
            raise UserError(f"The interval of a spline is [−bound, bound] with bound > 0, finite; got {self.bound}.")
        if not 0 < self.smallest * self.bins < 1:
            raise UserError(f"{self.bins} bins of at least {self.smallest} of the interval each do not fit into it.")

    @property
    def count(self) -> int:
        return 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped(x, parameters, 0)

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped(y, parameters, 1)

    def pull(self, y: Tensor, parameters: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return self._mapped(y, parameters, 1)[0]
        inner = y.clamp(-self.bound, self.bound)
        place = (inner / self.bound).reshape(-1)
        value = pulled_plainly(place, parameters.reshape(self.count, -1), self.smallest).view(y.shape)
        return torch.add(y - inner, value, alpha=self.bound)

    def _mapped(self, given: Tensor, parameters: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """From x to y (axis 0) or back (axis 1)."""
        flat = given.reshape(-1)
        inner = flat.clamp(-self.bound, self.bound)
        value, log_slope = mapped(inner / self.bound, parameters.reshape(self.count, -1), axis, self.smallest)
        # Inside, flat − inner is 0; outside, value is ±1 and the slope 1. Cheaper than two selections.
        moved = torch.add(flat - inner, value, alpha=self.bound)
        return moved.view(given.shape), log_slope.view(given.shape)
