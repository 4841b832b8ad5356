"""Pictures and sequences as rows of patches, and back; and where each patch lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.errors import UserError


def patches_of(x: Tensor, size: int) -> Tensor:
    """(B, C, *places) to (B, N, C·size^d), row by row. Raises UserError where a side is no multiple of the size."""
    wrong = [side for side in x.shape[2:] if side % size]
    if wrong:
        raise UserError(f"A side of {wrong[0]} cannot be cut into patches of {size}: pad it, or take patches of 1.")
    d = x.ndim - 2
    for axis in range(d):
        x = x.unflatten(2 + 2 * axis, (x.shape[2 + 2 * axis] // size, size))
    order = [0, *range(2, 2 + 2 * d, 2), 1, *range(3, 3 + 2 * d, 2)]
    return x.permute(order).flatten(1 + d).flatten(1, d)


def joined(rows: Tensor, size: int, grid: Sequence[int]) -> Tensor:
    """The inverse: rows (B, N, C·size^d) on a grid of patches to (B, C, *places)."""
    d = len(grid)
    x = rows.unflatten(1, tuple(grid)).unflatten(1 + d, (-1, *(size,) * d))
    order = [0, 1 + d, *(axis for i in range(d) for axis in (1 + i, 2 + d + i))]
    x = x.permute(order)
    for axis in range(d):
        x = x.flatten(2 + axis, 3 + axis)
    return x


def positions(grid: Sequence[int], width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Sines and cosines of each coordinate, (N, width): the channels are shared out evenly among the axes."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64, device=device) for n in grid), indexing="ij")
    each = width // (2 * len(grid))
    speeds = torch.exp(-math.log(10_000.0) * torch.arange(each, dtype=torch.float64, device=device) / each)
    angles = [axis.flatten()[:, None] * speeds for axis in axes]
    found = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], 1)
    return torch.nn.functional.pad(found, (0, width - found.shape[1])).to(dtype)
