"""Images: the user's pixels to model units, [-1, 1] with channels first, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data import schema
from pushforward.data.numbers import IMAGE_DTYPES, as_tensor, finite_numpy, is_integer, to_dtype
from pushforward.errors import UserError

_LARGEST = 1 << 31
"""Numbers in one image: more than any network could take in."""


class Layout(StrEnum):
    """How the user's array holds one image."""

    PLANE = "HW"
    FIRST = "CHW"
    LAST = "HWC"


@dataclass(frozen=True)
class Pixels:
    """x = (v − offset) / scale with v in [low, high], offset the middle and scale half the range.

    `clip` says that [low, high] bounds every possible value (8 bits, [0, 1], …) and not merely those seen.
    `mode` is Pillow's name of the pixel type when the data came from image files.
    """

    shape: tuple[int, int, int]
    layout: Layout
    dtype: str
    low: float
    high: float
    clip: bool
    mode: str | None = None

    @property
    def offset(self) -> float:
        return (self.low + self.high) / 2

    @property
    def scale(self) -> float:
        return (self.high - self.low) / 2 or 1.0

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one image in the user's own array."""
        channels, height, width = self.shape
        return {
            Layout.PLANE: (height, width),
            Layout.FIRST: (channels, height, width),
            Layout.LAST: (height, width, channels),
        }[self.layout]

    def encode(self, values: np.ndarray) -> Tensor:
        """(N, *item_shape) in the user's numbers -> float32 (N, C, H, W)."""
        if values.shape[1:] != self.item_shape:
            raise UserError(
                f"An image of shape {_by(values.shape[1:])} was given, and {_by(self.item_shape)} was expected: "
                "resize or transpose it, or train on images of this shape."
            )
        tensor = as_tensor(values)
        # float32 holds every 8- and 16-bit integer; wider numbers are centred before they are rounded to it.
        work = torch.float32 if np.dtype(values.dtype).itemsize <= 2 else torch.float64
        tensor = tensor.to(work, copy=True).sub_(self.offset).div_(self.scale).to(torch.float32)
        if self.layout is Layout.PLANE:
            tensor = tensor.unsqueeze(1)
        elif self.layout is Layout.LAST:
            tensor = tensor.permute(0, 3, 1, 2)
        return tensor.contiguous()

    def decode(self, x: Tensor) -> np.ndarray:
        """float (N, C, H, W) -> (N, *item_shape) in the user's dtype, rounded and clipped where that applies."""
        if tuple(x.shape[1:]) != self.shape:
            raise UserError(f"Images of shape {_by(x.shape[1:])} were given to a format of {_by(self.shape)} images.")
        values = finite_numpy(x) * self.scale + self.offset
        if self.clip or is_integer(self.dtype):
            values = np.clip(values, self.low, self.high)
        if self.layout is Layout.PLANE:
            values = values[:, 0]
        elif self.layout is Layout.LAST:
            values = values.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(to_dtype(values, self.dtype))

    def to_dict(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape),
            "layout": self.layout.value,
            "dtype": self.dtype,
            "low": self.low,
            "high": self.high,
            "clip": self.clip,
            "mode": self.mode,
        }

    @staticmethod
    def from_dict(stored: Any, where: str = "pixels") -> Pixels:
        found = schema.fields(stored, where, ("shape", "layout", "dtype", "low", "high", "clip", "mode"))
        channels, height, width = schema.items(schema.side, 3)(found["shape"], f"{where}.shape")
        if channels * height * width > _LARGEST:
            raise schema.wrong(f"{where}.shape", found["shape"], f"an image of at most {_LARGEST:,} numbers")
        low, high = (schema.number(found[name], f"{where}.{name}") for name in ("low", "high"))
        if high < low:
            raise schema.wrong(f"{where}.high", high, f"a number not below low, {low:g},")
        layout = Layout(schema.one_of(*Layout)(found["layout"], f"{where}.layout"))
        if layout is Layout.PLANE and channels != 1:
            raise schema.wrong(f"{where}.shape", list(found["shape"]), "one channel (the layout is HW)")
        dtype = schema.one_of(*IMAGE_DTYPES)(found["dtype"], f"{where}.dtype")
        mode = schema.optional(schema.one_of("L", "RGB", "RGBA", "I;16", "F"))(found["mode"], f"{where}.mode")
        clip = schema.flag(found["clip"], f"{where}.clip")
        return Pixels((channels, height, width), layout, dtype, low, high, clip, mode)


def _by(shape: Any) -> str:
    return "×".join(str(side) for side in shape) or "()"


def integer_range(low: int, high: int, dtype: np.dtype) -> tuple[float, float, bool]:
    """The range that integers in [low, high] were written in, and whether it bounds every value.

    Up to 31: 0 … high (digits with levels 0 … 16, binary images). Up to 255: 8 bits. uint16: the bits that are used
    (10-bit and 12-bit cameras). Anything else: the values seen.
    """
    if low < 0:
        return low, high, False
    if high <= 31:
        return 0, max(high, 1), True
    if high <= 255:
        return 0, 255, True
    if dtype == np.uint16:
        return 0, (1 << math.ceil(math.log2(high + 1))) - 1, True
    return low, high, False


def float_range(low: float, high: float, integral: bool) -> tuple[float, float, bool]:
    """The range that real pixels in [low, high] were written in: [0, 1], [-1, 1], integers, or the values seen."""
    if low >= 0 and high <= 1:
        return 0.0, 1.0, True
    if low >= -1 and high <= 1:
        return -1.0, 1.0, True
    if integral and low >= 0 and high <= 255:
        return integer_range(int(low), int(high), np.dtype(np.uint8))
    return low, high, False
