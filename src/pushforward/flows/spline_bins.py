"""The arithmetic of a rational-quadratic spline on the square [−1, 1]²: which bin, and where in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor


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
    """The curve of a bin at θ, with slopes in units of the chord's and ϑ = 1 − θ.

    With a = θ + d_k ϑ and b = ϑ + d_{k+1} θ: below = θ a + ϑ b, part = θ a/below is the part of the height, and
    dpart/dθ = rise/below², where rise = θ b + ϑ a. All are sums of what is not negative, so that rounding cannot make
    them so.
    """

    rest: Tensor
    below: Tensor
    part: Tensor
    rise: Tensor


def mapped_plainly(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor, Bin]:
    """Numbers (M,) of [−1, 1] on one axis to those on the other, and the log-slopes of that: of x if `axis` is 0."""
    share, totals, ends, lows, lengths, raw = _found(place, parameters, axis, smallest)
    theta, chord, slopes, value, log_slope = _through(place, lows, lengths, raw, axis, smallest)
    return value, log_slope, Bin(theta, lows, lengths, chord, slopes, ends, totals, share)


def mapped_briefly(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor]:
    """Values and log-slopes of `mapped_plainly`; nothing is held for a gradient, so that memory is used again."""
    return _through(place, *_box(place, parameters, axis, smallest), axis, smallest)[3:]


def pulled_plainly(place: Tensor, parameters: Tensor, smallest: float) -> Tensor:
    """The values alone, on axis 1."""
    lows, lengths, raw = _box(place, parameters, 1, smallest)
    theta, _, _ = _theta(place, lows, lengths, raw, 1, smallest)
    return torch.addcmul(lows[0], lengths[0], theta)


def mapped_unrolled(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor]:
    """The same without gathering, bin by bin: a compiler makes one loop of it, where each operation alone is slow."""
    rows = parameters.unbind(0)
    bins = (len(rows) + 1) // 3
    cuts = [_cuts(rows[i * bins : (i + 1) * bins], smallest) for i in (0, 1)]
    low, length = [starts[0] for starts, _ in cuts], [lengths[0] for _, lengths in cuts]
    flat = torch.zeros_like(place)
    raw = [flat, rows[2 * bins]]
    for k in range(1, bins):
        passed = cuts[axis][0][k] <= place
        low = [torch.where(passed, starts[k], now) for (starts, _), now in zip(cuts, low, strict=True)]
        length = [torch.where(passed, lengths[k], now) for (_, lengths), now in zip(cuts, length, strict=True)]
        after = rows[2 * bins + k] if k + 1 < bins else flat
        raw = [torch.where(passed, new, now) for new, now in zip((rows[2 * bins + k - 1], after), raw, strict=True)]
    lows, lengths = torch.stack(low), torch.stack(length)
    return _through(place, lows, lengths, torch.stack(raw), axis, smallest)[3:]


def _cuts(logits: Sequence[Tensor], smallest: float) -> tuple[list[Tensor], list[Tensor]]:
    """Where the bins of one axis start, and how long they are, between −1 and 1."""
    highest = reduce(torch.maximum, logits).detach()
    shares = [(logit - highest).exp() for logit in logits]
    scale = 2 * (1 - len(shares) * smallest) / reduce(torch.add, shares)
    lengths = [2 * smallest + scale * share for share in shares]
    return list(accumulate(lengths[:-1], torch.add, initial=torch.full_like(highest, -1.0))), lengths


def _through(
    place: Tensor, lows: Tensor, lengths: Tensor, raw: Tensor, axis: int, smallest: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """θ, the chord's slope, the slopes over it, the value on the other axis and its log-slope, given the bin."""
    theta, chord, slopes = _theta(place, lows, lengths, raw, axis, smallest)
    curve = curve_at(theta, slopes)
    log_slope = (chord * curve.rise / (curve.below * curve.below)).log()
    value = torch.addcmul(lows[1 - axis], lengths[1 - axis], theta if axis else curve.part)
    return theta, chord, slopes, value, -log_slope if axis else log_slope


def _theta(
    place: Tensor, lows: Tensor, lengths: Tensor, raw: Tensor, axis: int, smallest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """θ, the chord's slope, the slopes over it, given the bin."""
    chord = lengths[1] / lengths[0]
    slopes = (raw / torch.add(one_like(place), raw.abs(), alpha=-1 / math.log(smallest))).exp() / chord
    part = ((place - lows[axis]) / lengths[axis]).clamp(0, 1)
    return (_root(part, slopes).clamp(0, 1) if axis else part), chord, slopes


def _box(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor, Tensor]:
    """The starts and lengths of the bin and its raw slopes, (2, M) each."""
    return _found(place, parameters, axis, smallest)[3:]


def _found(
    place: Tensor, parameters: Tensor, axis: int, smallest: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Shares and totals, the numbers of the bin's two knots, its box (starts and lengths) and its raw slopes."""
    share, knots, totals, index = _search(place, parameters, axis, smallest)
    ends = index + _steps(place.device)
    lows, highs = (knots.gather(1, ends.expand(2, 2, -1)) / totals[:, None]).unbind(1)
    edge = torch.zeros_like(place)[None]
    raw = torch.cat((edge, parameters[2 * share.shape[1] :], edge)).gather(0, ends)
    return share, totals, ends, lows, highs - lows, raw


def _search(place: Tensor, parameters: Tensor, axis: int, smallest: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shares (2, bins, M), knots (2, bins + 1, M) and their totals (2, M), unnormalised, and the bin's number (M,)."""
    bins = (len(parameters) + 1) // 3
    logits = parameters[: 2 * bins].unflatten(0, (2, bins))
    share = (logits - logits.detach().amax(1, keepdim=True)).exp_()
    knots = torch.bmm(cumulation(bins, smallest, share.dtype, share.device), share)
    totals = knots[:, bins]
    # A number on a knot belongs to the bin on its right, the last knot to the last bin. Differences of floats are
    # vectorised in place, comparisons that make truth values are not.
    passed = (knots[axis, 1:bins] - place * totals[axis]).detach().le_(0)
    return share, knots, totals, passed.sum(0).long()


@lru_cache(maxsize=64)
def cumulation(bins: int, smallest: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Twice the matrix (bins + 1, bins) from unnormalised shares to knots between minus and plus half their sum."""
    k = torch.arange(bins + 1, dtype=torch.float64)[:, None]
    before = (torch.arange(bins)[None] < k).double()
    return (k * smallest + (1 - bins * smallest) * before - 0.5).to(dtype=dtype, device=device).expand(2, -1, -1)


@lru_cache(maxsize=8)
def _steps(device: torch.device) -> Tensor:
    """From the number of a bin to those of its two knots."""
    return torch.tensor([[0], [1]], device=device)


def curve_at(theta: Tensor, slopes: Tensor) -> Curve:
    left, right = slopes
    rest = one_like(theta) - theta
    a, b = torch.addcmul(theta, left, rest), torch.addcmul(rest, right, theta)
    above = theta * a
    below = torch.addcmul(above, rest, b)
    return Curve(rest, below, above / below, torch.addcmul(theta * b, rest, a))


def one_like(x: Tensor) -> Tensor:
    """The number 1 as a tensor: torch casts Python's numbers at every call, which takes as long as the arithmetic."""
    return _one(x.dtype, x.device)


@lru_cache(maxsize=8)
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones((), dtype=dtype, device=device)


def _root(rho: Tensor, slopes: Tensor) -> Tensor:
    """θ from the part ρ of the height: (1 − b) θ² + b θ − ρ = 0 with b = d_k (1 − ρ) − ρ (d_{k+1} − 2).

    The discriminant is (b − 2ρ)² + 4ρ(1 − ρ) ≥ 0; of the two forms of the root the one without a difference of equals
    is taken.
    """
    left, right = slopes
    rest, twice = one_like(rho) - rho, rho + rho
    b = torch.addcmul(left * rest, rho, right, value=-1) + twice
    lean = b - twice
    root = torch.addcmul(lean * lean, twice, rest, value=2).sqrt()
    size = b.abs()
    half = (size + root) * 0.5
    rising = b > 0
    return torch.where(rising, rho, half) / torch.where(rising, half, one_like(rho) + size)
