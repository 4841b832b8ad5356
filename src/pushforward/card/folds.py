"""Numbers that belong to a row and to nothing else: its fold, and the key of its randomness.

Both are hashes of the row's features, so they need not be stored, do not depend on order or batch, and equal rows are
never on two sides of a split.
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


def folds_of(x: Tensor, folds: int) -> Tensor:
    """The fold 0 … folds − 1 of each row: int64 (N,)."""
    return (row_numbers(x) >> 7) % folds
