"""Pictures larger than memory: a first stage applied to overlapping tiles whose seams are blended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError


@dataclass(frozen=True)
class Tiling:
    """Square tiles of `size` places, neighbours sharing `overlap` of them; sizes are of latents.

    Raises UserError unless 0 ≤ overlap < size.
    """

    size: int = 64
    overlap: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.size:
            raise UserError(f"tiles need 0 ≤ overlap < size; got {self.overlap} of {self.size}")

    def starts(self, length: int) -> list[int]:
        """Where tiles begin along a side: evenly one stride apart, the last one flush with the end."""
        if length <= self.size:
            return [0]
        return [*range(0, length - self.size, self.size - self.overlap), length - self.size]


def tiled_encode(encode: Callable[[Tensor], Tensor], x: Tensor, factor: int, tiling: Tiling) -> Tensor:
    """Latents (B, C, H/f, W/f) of pictures (B, …, H, W), tile by tile.

    Raises UserError where the sides are no multiples of `factor`.
    """
    height, width = x.shape[-2:]
    if height % factor or width % factor:
        raise UserError(
            f"pictures of {height} × {width} cannot be cut into latents of {factor} × {factor} pixels: pad them to "
            f"multiples of {factor}"
        )
    places = (height // factor, width // factor)
    return _blended(lambda i, j, h, w: encode(_cut(x, (i, j, h, w), factor)), places, 1, tiling)


def tiled_decode(decode: Callable[[Tensor], Tensor], z: Tensor, factor: int, tiling: Tiling) -> Tensor:
    """Pictures (B, C, H, W) of latents (B, …, H/f, W/f), tile by tile."""
    return _blended(lambda i, j, h, w: decode(_cut(z, (i, j, h, w), 1)), z.shape[-2:], factor, tiling)


def _blended(
    part: Callable[[int, int, int, int], Tensor], places: Sequence[int], factor: int, tiling: Tiling
) -> Tensor:
    """The weighted mean of tiles; weights fall linearly within overlaps, so that seams do not show."""
    height, width = places
    total: Tensor | None = None
    weights: Tensor | None = None
    for i in tiling.starts(height):
        for j in tiling.starts(width):
            h, w = min(tiling.size, height), min(tiling.size, width)
            tile = part(i, j, h, w)
            if total is None or weights is None:
                total = tile.new_zeros(*tile.shape[:-2], height * factor, width * factor)
                weights = tile.new_zeros(height * factor, width * factor)
            window = torch.outer(
                _ramp(tile.shape[-2], tiling.overlap * factor), _ramp(tile.shape[-1], tiling.overlap * factor)
            )
            window = window.to(tile)
            rows, columns = slice(i * factor, (i + h) * factor), slice(j * factor, (j + w) * factor)
            total[..., rows, columns] += window * tile
            weights[rows, columns] += window
    assert total is not None and weights is not None
    return total / weights


def _ramp(length: int, overlap: int) -> Tensor:
    """1 in the middle, falling to 1/(overlap + 1) over each end; the outer rim is divided by its own weight."""
    if not overlap:
        return torch.ones(length)
    at = torch.arange(1, length + 1, dtype=torch.float32) / (overlap + 1)
    return torch.minimum(at, at.flip(0)).clamp(max=1.0)


def _cut(x: Tensor, tile: tuple[int, int, int, int], factor: int) -> Tensor:
    i, j, h, w = (side * factor for side in tile)
    return x[..., i : i + h, j : j + w]
