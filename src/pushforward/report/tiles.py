"""Items of image data as small 8-bit tiles, so that a page of any data stays small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.data.format import Format
from pushforward.data.pixels import Layout, Pixels
from pushforward.errors import UserError
from pushforward.report.pictures import pixels

_GREY_SIDE, _COLOUR_SIDE = 64, 40
"""The longest side of a tile: what a page of 300 tiles can hold."""

Tiles = NDArray[np.uint8]
"""(N, H, W, C), C of 1 (grey), 3 (colour) or 4 (with alpha)."""


@dataclass(frozen=True)
class Tiler:
    """Makes tiles of the images of a format."""

    form: Format

    @property
    def coding(self) -> Pixels:
        if not isinstance(self.form.coding, Pixels):
            raise UserError("pictures are made of images, and these data are rows of numbers")
        return self.form.coding

    @property
    def side(self) -> int:
        """The longest side of a tile."""
        return min(max(self.form.shape[1:]), _GREY_SIDE if self.form.shape[0] == 1 else _COLOUR_SIDE)

    @property
    def few(self) -> bool:
        """Whether tiles are so large that fewer of them should be shown."""
        return self.side > 32

    @property
    def size(self) -> int:
        """The side at which a tile is drawn."""
        return max(self.side, 56)

    def of_values(self, values: np.ndarray) -> Tiles:
        """Images in the user's own form: (N, *item_shape)."""
        if self.coding.layout is Layout.PLANE:
            values = values[:, None]
        elif self.coding.layout is Layout.LAST:
            values = values.transpose(0, 3, 1, 2)
        return self._shrunk(pixels(values, (self.coding.low, self.coding.high)))

    def of_units(self, x: Tensor) -> Tiles:
        """Images in model units, (N, C, H, W); what lies outside the range of the data is cut."""
        return self.of_values(self.form.decode(x))

    def of_deviation(self, x: Tensor) -> Tiles:
        """Standard deviations in model units, black for 0 and white for the largest."""
        top = float(x.max()) or 1.0
        return self._shrunk(pixels(x.cpu().numpy(), (0.0, top)))

    def _shrunk(self, tiles: Tiles) -> Tiles:
        height, width = tiles.shape[1:3]
        share = self.side / max(height, width)
        if share >= 1:
            return tiles
        size = max(1, round(height * share)), max(1, round(width * share))
        planes = torch.from_numpy(tiles).permute(0, 3, 1, 2).float()
        small = torch.nn.functional.adaptive_avg_pool2d(planes, size)
        return small.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def coloured(tiles: Tiles) -> Tiles:
    """Grey or colour tiles as colour."""
    return tiles.repeat(3, -1) if tiles.shape[-1] == 1 else tiles[..., :3]


def covered(tiles: Tiles, hidden: NDArray[np.bool_], tint: tuple[int, int, int] = (224, 150, 104)) -> Tiles:
    """Tiles whose hidden pixels (H, W) are painted over in a colour that the data do not have."""
    out = coloured(tiles).copy()
    out[:, hidden] = tint
    return out
