"""Numbers that belong to a row: the fold that it is left out of, and the key of its randomness.

Both are hashes, so they need not be stored and do not depend on the order of the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.numerics.random import key, keys


def row_numbers(x: Tensor) -> Tensor:
    """A 63-bit number of each row of features: float32 (N, F) -> int64 (N,)."""
    words = (x.detach().cpu().float() + 0.0).contiguous().view(torch.int32).long()  # + 0.0: −0 and 0 are one number
    found = torch.full((len(x),), x.shape[1], dtype=torch.int64)
    for j in range(x.shape[1]):
        found = keys(key("row", j), found ^ words[:, j])
    return found & ((1 << 63) - 1)


def folds_of(x: Tensor, y: Tensor, folds: int) -> Tensor:
    """The fold 0 … folds − 1 of each training row, x (N, F) with its response y (N, R): int64 (N,).

    Rows that agree are numbered and fall into folds of their own: a new row, too, may agree with some that f has seen,
    and where rows take few values (categories alone) f would otherwise be asked for what it has never met.
    """
    numbers = row_numbers(torch.cat((y, x), 1))
    return (keys(key("fold"), numbers + _occurrences(numbers)) & ((1 << 63) - 1)) % folds


def _occurrences(numbers: Tensor) -> Tensor:
    """How many equal numbers come before each: (N,) -> int64 (N,)."""
    order = numbers.argsort(stable=True)
    ordered, place = numbers[order], torch.arange(len(numbers))
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    start = torch.where(first, place, 0).cummax(0).values if len(numbers) else place
    out = torch.empty_like(place)
    out[order] = place - start
    return out
