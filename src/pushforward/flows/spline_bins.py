"""The arithmetic of a rational-quadratic spline on the square [−1, 1]²: which bin, and where in it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Bin(NamedTuple):
    """The bin of each of M numbers; pairs (2, M) belong to x and y, slopes to its left and right end.

    `theta` is the part of its width that lies before x, `slopes` are in units of its chord's, `ends` are the numbers of
    its two knots, `share` (2, bins, M) are all widths and heights before they are normalised, to half-sums of `totals`.
    """

    theta: Tensor
    starts: Tensor
    lengths: Tensor
    chord: Tensor
    slopes: Tensor
    ends: Tensor
    totals: Tensor
    share: Tensor


class Curve(NamedTuple):
    """The curve of a bin at θ, with slopes in units of the chord's, t = θ(1 − θ) and bend = d_k + d_{k+1} − 2.

    part = (θ² + d_k t)/below is the part of the height, below = 1 + bend t, and dpart/dθ = rise/below², where
    rise = d_{k+1} θ² + 2t + d_k (1 − θ)²: sums of what is not negative, so that rounding cannot make them so.
    """

    rest: Tensor
    product: Tensor
    bend: Tensor
    below: Tensor
    part: Tensor
    rise: Tensor


def mapped_plainly(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor, Bin]:
    """Numbers (M,) of [−1, 1] on one axis to those on the other, and the log-slopes of that: of x if `axis` is 0."""
    share, knots, totals, index = _search(place, parameters, axis, smallest)
    bins = share.shape[1]
    ends = index + _steps(place.device)
    lows, highs = (knots.gather(1, ends.expand(2, 2, -1)) / totals[:, None]).unbind(1)
    lengths = highs - lows
    chord = lengths[1] / lengths[0]
    edge = torch.zeros_like(place)[None]
    raw = torch.cat((edge, parameters[2 * bins :], edge)).gather(0, ends)
    slopes = (functional.softplus(raw + math.log(math.expm1(1 - smallest))) + smallest) / chord
    part = ((place - lows[axis]) / lengths[axis]).clamp(0, 1)
    theta = _root(part, slopes).clamp(0, 1) if axis else part
    curve = curve_at(theta, slopes)
    log_slope = (chord * curve.rise / (curve.below * curve.below)).log()
    value = torch.addcmul(lows[1 - axis], lengths[1 - axis], theta if axis else curve.part)
    found = Bin(theta, lows, lengths, chord, slopes, ends, totals, share)
    return value, -log_slope if axis else log_slope, found


def _search(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shares (2, bins, M), knots (2, bins + 1, M) and their totals (2, M), unnormalised, and the bin's number (M,)."""
    bins = (len(parameters) + 1) // 3
    logits = parameters[: 2 * bins].unflatten(0, (2, bins))
    share = (logits - logits.detach().amax(1, keepdim=True)).exp_()
    knots = torch.matmul(cumulation(bins, smallest, share.dtype, share.device), share)
    totals = knots[:, bins]
    # A number on a knot belongs to the bin on its right, the last knot to the last bin.
    passed = knots[axis, 1:bins] <= place * totals[axis]
    return share, knots, totals, passed.view(torch.uint8).sum(0, dtype=torch.uint8).long()


@lru_cache(maxsize=64)
def cumulation(bins: int, smallest: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (bins + 1, bins) from unnormalised shares to knots between minus and plus half their sum."""
    k = torch.arange(bins + 1, dtype=torch.float64)[:, None]
    before = (torch.arange(bins)[None] < k).double()
    return (k * smallest + (1 - bins * smallest) * before - 0.5).to(dtype=dtype, device=device)


@lru_cache(maxsize=8)
def _steps(device: torch.device) -> Tensor:
    """From the number of a bin to those of its two knots."""
    return torch.tensor([[0], [1]], device=device)


def curve_at(theta: Tensor, slopes: Tensor) -> Curve:
    left, right = slopes
    rest, square = 1 - theta, theta * theta
    product = theta * rest
    bend = left + right - 2
    below = torch.addcmul(_one(theta.dtype, theta.device), bend, product)
    rise = torch.addcmul(torch.addcmul(2 * product, right, square), left, rest * rest)
    return Curve(rest, product, bend, below, torch.addcmul(square, left, product) / below, rise)


@lru_cache(maxsize=8)
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones((), dtype=dtype, device=device)


def _root(rho: Tensor, slopes: Tensor) -> Tensor:
    """θ from the part ρ of the height: (1 − b) θ² + b θ − ρ = 0 with b = d_k (1 − ρ) − ρ (d_{k+1} − 2).

    The discriminant is (b − 2ρ)² + 4ρ(1 − ρ) ≥ 0; of the two forms of the root the one without a difference of equals
    is taken.
    """
    left, right = slopes
    rest = 1 - rho
    b = left * rest - rho * (right - 2)
    root = ((b - 2 * rho).square() + 4 * rho * rest).sqrt()
    rising = b > 0
    return torch.where(rising, 2 * rho, root - b) / torch.where(rising, b + root, 2 - 2 * b)
