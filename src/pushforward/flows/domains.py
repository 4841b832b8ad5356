"""Between the whole space and a part of it: intervals, half-lines, the simplex.

All go from the whole space to the part; `Inverse` of one, first in a chain, is how a flow takes bounded data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.flows.bijection import Bijection
from pushforward.flows.checks import check_domain
from pushforward.numerics.broadcast import sum_per_sample


@dataclass(frozen=True)
class Scale(Bijection):
    """y = shift + scale · x, the same numbers for all features."""

    scale: float
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.shift)):
            raise UserError(f"A scale must be finite and not 0; got y = {self.shift} + {self.scale} x.")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.shift + self.scale * x, self._log_det(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.shift) / self.scale, -self._log_det(y)

    def _log_det(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), x[0].numel() * math.log(abs(self.scale)) if len(x) else 0.0)


@dataclass(frozen=True)
class Interval(Bijection):
    """y = low + (high − low) / (1 + e^−x): the whole line to (low, high). The inverse is the logit.

    Its inverse raises UserError for numbers that are not strictly inside.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.high - self.low) and self.low < self.high):
            raise UserError(f"An interval needs finite ends, low < high; got {self.low} and {self.high}.")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.low + (self.high - self.low) * torch.sigmoid(x), sum_per_sample(self._log_slope(x))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        check_domain(y, (y > self.low) & (y < self.high), f"({self.low:g}, {self.high:g})")
        x = (y - self.low).log() - (self.high - y).log()
        return x, -sum_per_sample(self._log_slope(x))

    def _log_slope(self, x: Tensor) -> Tensor:
        return math.log(self.high - self.low) + functional.logsigmoid(x) + functional.logsigmoid(-x)


@dataclass(frozen=True)
class Softplus(Bijection):
    """y = low + log(1 + eˣ): the whole line to (low, ∞), linear far from the end. The inverse refuses numbers ≤ low."""

    low: float = 0.0

    def __post_init__(self) -> None:
        _check_end(self.low)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # −log σ(−x): unlike torch's softplus, exact for large x.
        return self.low - functional.logsigmoid(-x), sum_per_sample(functional.logsigmoid(x))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        check_domain(y, y > self.low, f"({self.low:g}, ∞)")
        above = y - self.low
        x = above + (-torch.expm1(-above)).log()
        return x, -sum_per_sample(functional.logsigmoid(x))


@dataclass(frozen=True)
class Exponential(Bijection):
    """y = low + eˣ: the whole line to (low, ∞). The inverse refuses numbers ≤ low."""

    low: float = 0.0

    def __post_init__(self) -> None:
        _check_end(self.low)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.low + x.exp(), sum_per_sample(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        check_domain(y, y > self.low, f"({self.low:g}, ∞)")
        x = (y - self.low).log()
        return x, -sum_per_sample(x)


@dataclass(frozen=True)
class Simplex(Bijection):
    """Stick breaking: x (B, d) to y (B, d + 1) with y > 0 and Σ y = 1.

    y_i = v_i Π_{j<i} (1 − v_j) with v_i = σ(x_i − log(d − i)), so that x = 0 is the centre. The log-determinant is that
    of the first d coordinates, which are all there is to know. The inverse raises UserError off the simplex.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim != 2 or x.shape[1] < 1:
            raise UserError(f"Stick breaking takes vectors of at least one number; got shape {tuple(x.shape)}.")
        shifted = x - _offsets(x)
        log_v, log_rest = functional.logsigmoid(shifted), functional.logsigmoid(-shifted)
        left = functional.pad(log_rest.cumsum(1), (1, 0))
        y = (left + functional.pad(log_v, (0, 1))).exp()
        return y, (left[:, :-1] + log_v + log_rest).sum(1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if y.ndim != 2 or y.shape[1] < 2:
            raise UserError(f"A simplex has at least two coordinates per sample; got shape {tuple(y.shape)}.")
        room = 10 * y.shape[1] * torch.finfo(y.dtype).eps
        check_domain(y, (y > 0).all(1) & ((y.sum(1) - 1).abs() <= room), "positive numbers that sum to one")
        # What is left of the stick is summed from its end: 1 − Σ would lose the digits of a small rest.
        rest = y.flip(1).cumsum(1).flip(1)[:, 1:]
        first = y[:, :-1]
        x = first.log() - rest.log() + _offsets(first)
        return x, -self.forward(x)[1]


def _check_end(low: float) -> None:
    if not math.isfinite(low):
        raise UserError(f"A half-line begins at a finite number; got {low}.")


def _offsets(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], 0, -1, dtype=x.dtype, device=x.device).log()
