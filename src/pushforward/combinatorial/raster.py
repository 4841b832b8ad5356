"""Tours as pictures, in a way that can be differentiated: an edge is a bar, a city a disc on top of all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.errors import UserError

_LINE = 0.5
"""The brightness of an edge where a city has 1 (Graikos et al. 2022)."""


@dataclass(frozen=True)
class Raster:
    """Pictures (1, size, size) in [−1, 1] of cities in the unit square; widths and radii in pixels.

    A pixel is as bright as the share of it that a bar covers, so that thin bars are not broken.
    """

    size: int = 32
    line: float = 1.0
    disc: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 8 or not (self.line > 0 and self.disc > 0):
            raise UserError(f"pictures have at least 8 pixels, and lines and discs a size above 0; got {self}")

    def tours(self, cities: np.ndarray, tours: np.ndarray) -> Tensor:
        """Of cities (B, n, 2) and tours (B, n): (B, 1, size, size)."""
        rows = np.arange(len(tours))[:, None]
        ends = torch.from_numpy(cities[rows, tours]).float()
        bars = self._bars(ends, ends.roll(-1, 1)).amax(1)
        return self._joined(bars, self.discs(cities))

    def edges(self, cities: np.ndarray) -> Tensor:
        """The bar of each pair of cities i < j: (B, n(n − 1)/2, size²), from 0 to 1."""
        first, second = np.triu_indices(cities.shape[1], 1)
        points = torch.from_numpy(cities).float()
        return self._bars(points[:, first], points[:, second])

    def discs(self, cities: np.ndarray) -> Tensor:
        """Where the cities are: (B, size²), from 0 to 1."""
        points = torch.from_numpy(cities).float()
        away = (self._pixels() - self._placed(points)[:, :, None]).norm(dim=-1)
        return (self.disc + 0.5 - away).clamp(0, 1).amax(1)

    def relaxed(self, weights: Tensor, edges: Tensor, discs: Tensor) -> Tensor:
        """Of pairs that are edges as far as `weights` (B, E) say: the sum of bars, cities on top; differentiable."""
        return self._joined(torch.einsum("be,bep->bp", weights, edges), discs)

    def _joined(self, bars: Tensor, discs: Tensor) -> Tensor:
        light = torch.maximum(_LINE * bars * (1 - discs), discs)  # what a disc covers is the disc's
        return (2 * light - 1).reshape(-1, 1, self.size, self.size)

    def _bars(self, start: Tensor, end: Tensor) -> Tensor:
        a, b = self._placed(start)[:, :, None], self._placed(end)[:, :, None]
        along, pixels = b - a, self._pixels()
        share = ((pixels - a) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)
        away = (pixels - a - share.clamp(0, 1)[..., None] * along).norm(dim=-1)
        return (self.line / 2 + 0.5 - away).clamp(0, 1)

    def _placed(self, points: Tensor) -> Tensor:
        """From the unit square to pixels, with room for the discs at the rim."""
        rim = self.disc + 0.5
        return rim + points * (self.size - 1 - 2 * rim)

    def _pixels(self) -> Tensor:
        line = torch.arange(self.size, dtype=torch.float32)
        y, x = torch.meshgrid(line, line, indexing="ij")
        return torch.stack((x, y), -1).reshape(-1, 2)
