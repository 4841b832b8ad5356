"""log Z with its error, from the weights of chains that went up a ladder, down it, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import brentq
from torch import Tensor

from pushforward.errors import NumericalError, UserError


class Average(NamedTuple):
    """log of a mean with its standard error."""

    value: float
    standard_error: float


def log_mean(log_weight: Tensor) -> Average:
    """log E w from log w (N,), bias of order 1/N removed and error estimated by the jackknife.

    The error is one for which the largest weights were seen: watch `effective_size`. Raises UserError for one weight.
    """
    log_w = log_weight.double()
    n = len(log_w)
    if n < 2:
        raise UserError(f"an average with an error needs at least two chains; got {n}")
    if not bool(log_w.isfinite().all()):
        raise NumericalError("a weight of the annealed chains is not finite; use more rungs or a wider base")
    shifted = torch.exp(log_w - log_w.max())
    total, heaviest = shifted.sum(), int(shifted.argmax())
    rest = total - shifted
    # Where one weight is nearly all, the others are summed by themselves: the difference would have no digits left.
    rest[heaviest] = torch.cat((shifted[:heaviest], shifted[heaviest + 1 :])).sum().clamp(min=1e-300)
    without = torch.log(rest / (n - 1)) + log_w.max()
    plain = float(torch.log(total / n) + log_w.max())
    value = n * plain - (n - 1) * float(without.mean())
    error = math.sqrt((n - 1) / n * float((without - without.mean()).square().sum()))
    return Average(value, error)


def effective_size(log_weight: Tensor) -> float:
    """(Σw)²/Σw²: how many equal weights tell as much; 1 where a single chain carries all."""
    share = torch.softmax(log_weight.double(), 0)
    return float(1 / share.square().sum())


def bennett(up: Tensor, down: Tensor) -> Average:
    """log Z from chains both ways, the estimate of least variance (Bennett 1976): log w of each, (N,) and (M,).

    Σ_up s(log w − log Z − c) = Σ_down s(log Z + c − log w) with s the logistic function and c = log N/M. Exact only
    where the chains that went down began at samples of the target. The error is that of Shirts et al. (2003).
    """
    forward, backward = up.double(), down.double()
    n, m = len(forward), len(backward)
    if min(n, m) < 1:
        raise UserError(f"chains in both directions are needed; got {n} up and {m} down")
    c = math.log(n / m)

    def excess(log_z: float) -> float:
        return float(torch.sigmoid(forward - log_z - c).sum() - torch.sigmoid(log_z + c - backward).sum())

    both = torch.cat((forward, backward))
    low, high = float(both.min()) - c - 50, float(both.max()) - c + 50
    value = float(brentq(excess, low, high, xtol=1e-10))
    odds = torch.sigmoid(both - value - c)
    information = float((odds * (1 - odds)).sum())
    variance = 1 / information - (n + m) / (n * m) if information > 0 else math.inf
    return Average(value, math.sqrt(max(variance, 0.0)))


@dataclass(frozen=True)
class LogZ:
    """log Z in nats with its standard error, by annealed chains.

    `effective` is the effective number of the `chains`: below a few the error is not to be trusted. `upper` is what
    chains from data down to the base say, which on average is above log Z if the data are the model's; None without.
    """

    value: float
    standard_error: float
    effective: float
    chains: int
    accepted: float
    upper: Average | None = None

    @property
    def trusted(self) -> bool:
        """Whether enough chains carry the weight for the error to mean what it says."""
        return self.effective >= min(10.0, 0.5 * self.chains)
