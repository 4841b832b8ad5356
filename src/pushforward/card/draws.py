"""The noise that samples of a row begin with, a function of row, seed and number of the sample; their quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.card.folds import row_numbers
from pushforward.errors import UserError
from pushforward.numerics.random import Draws, keys


def sample_draws(x: Tensor, count: int, seed: int) -> Draws:
    """Draws of `count` samples of each row, sample by sample within rows: x (N, F) -> (N · count,).

    A row has the same samples alone, in any batch and in any order.
    """
    numbers = row_numbers(x)
    index = keys(0, numbers)[:, None] ^ torch.arange(count)
    return Draws.of(seed, index.flatten(), "predict")


def spread_normals(draws: Draws, count: int, outputs: int) -> Tensor:
    """Standard normals of N rows (N · count, outputs) of which each row's `count` are spread evenly.

    One lies in each of `count` layers of equal probability, in every coordinate (a Latin hypercube, McKay et al. 1979):
    means and quantiles of a row err far less than those of independent draws. Each by itself is a standard normal.
    """
    u = draws.at("layers").uniform((2, outputs), torch.float64).reshape(-1, count, 2, outputs)
    layer = u[:, :, 0].argsort(1).argsort(1)
    return torch.special.ndtri((layer + u[:, :, 1]) / count).float().reshape(-1, outputs)


def quantiles(samples: Tensor, levels: Sequence[float], evenly: bool) -> Tensor:
    """Of S draws of each row (N, S, R) the values below which a further draw falls with probability q: (N, Q, R).

    The k-th smallest of independent draws is passed with probability k/(S + 1), so that q has the rank (S + 1) q.
    Of draws spread `evenly` the k-th lies within ((k − 1)/S, k/S), so that q has the rank S q + ½. Between two ranks
    there is a straight line, beyond the last one the last draw.
    """
    count = samples.shape[1]
    ranks = torch.tensor([count * q - 0.5 if evenly else (count + 1) * q - 1 for q in levels], dtype=torch.float64)
    ranks = ranks.clamp(0, count - 1)
    low = ranks.long()
    ordered, part = samples.double().sort(1).values, (ranks - low).to(samples.device)[:, None]
    return torch.lerp(ordered[:, low], ordered[:, (low + 1).clamp(max=count - 1)], part)


def reached(levels: Sequence[float], count: int) -> tuple[float, ...]:
    """Those of the levels that so many draws of each row reach; 0.5 is reached by one."""
    return tuple(q for q in levels if count * min(q, 1 - q) >= 0.5 - 1e-9)


def check_levels(levels: Sequence[float], count: int) -> None:
    """Raise UserError for levels outside (0, 1), and for those that so many draws of each row do not reach."""
    wrong = [q for q in levels if not 0 < q < 1]
    if wrong:
        raise UserError(f"quantiles lie between 0 and 1; got {wrong[0]:g}")
    tail = min((min(q, 1 - q) for q in levels), default=0.5)
    if len(reached(levels, count)) < len(levels):
        raise UserError(
            f"a quantile of {min(levels, key=lambda q: min(q, 1 - q)):g} needs at least {math.ceil(0.5 / tail - 1e-9)} "
            f"draws of each row; there are {count}: ask for more draws"
        )
