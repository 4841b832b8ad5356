"""The noise that samples of a row begin with: a function of the row, the seed and the sample's number alone."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.card.folds import row_numbers
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
