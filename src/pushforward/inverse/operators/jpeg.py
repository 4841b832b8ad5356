"""What JPEG keeps of a picture: block cosine transforms, quantised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import Operator
from pushforward.inverse.operators.pointwise import rounded
from pushforward.inverse.operators.resize import AveragePool

# Annex K of ITU-T T.81, tables K.1 and K.2.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# ITU-R BT.601, as JFIF has it: rows Y, Cb, Cr of red, green, blue.
_COLOURS = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


def quantisation(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """The steps of the 8×8 coefficients at a quality from 1 to 100, as the Independent JPEG Group scales the tables."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * percent + 50) // 100).clamp(1, 255).double()


def cosines() -> Tensor:
    """The orthonormal DCT-II of eight values: (8, 8)."""
    at = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos(math.pi / 8 * (at + 0.5) * at[:, None]) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


@dataclass(frozen=True)
class JPEG(Operator):
    """A picture after JPEG at `quality` (1 … 100), pixels from `low` to `high`: (B, 1 or 3, H, W) to the same shape.

    Blocks of 8×8 are cosine-transformed and quantised by the standard tables; colours in luminance and chrominance, the
    latter at half the size where `halved` (sides then multiples of 16, else of 8). Neither rounded to pixels nor
    clipped at the end, so that h(h(x)) = h(x) and h†(y) = y. The derivative is 0; with `straight_through` rounding has
    that of the identity.
    """

    quality: int
    low: float
    high: float
    halved: bool = True
    straight_through: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100 or not self.low < self.high:
            raise UserError(
                f"JPEG needs a quality from 1 to 100 and low < high; got {self.quality}, {self.low}, {self.high}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        self._fits(x)
        # JPEG works on −128 … 127.
        unit = (self.high - self.low) / 255
        levels = (x - self.low) / unit - 128
        if x.shape[1] == 1:
            return (self._coded(levels, LUMINANCE) + 128) * unit + self.low
        colours = torch.tensor(_COLOURS, dtype=torch.float64).to(x.device)
        planes = torch.einsum("ij,bjhw->bihw", colours.to(x.dtype), levels)
        light = self._coded(planes[:, :1], LUMINANCE)
        colour = self._halved(planes[:, 1:]) if self.halved else self._coded(planes[:, 1:], CHROMINANCE)
        back = torch.linalg.inv(colours).to(x.dtype)
        return (torch.einsum("ij,bjhw->bihw", back, torch.cat((light, colour), 1)) + 128) * unit + self.low

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        return y

    def _halved(self, planes: Tensor) -> Tensor:
        small = self._coded(AveragePool(2)(planes), CHROMINANCE)
        return small.repeat_interleave(2, -1).repeat_interleave(2, -2)

    def _coded(self, planes: Tensor, table: tuple[tuple[int, ...], ...]) -> Tensor:
        steps = quantisation(table, self.quality).to(planes.device, planes.dtype)
        dct = cosines().to(planes.device, planes.dtype)
        blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-2, -3)
        kept = rounded(dct @ blocks @ dct.mT / steps, self.straight_through) * steps
        return (dct.mT @ kept @ dct).transpose(-2, -3).flatten(-4, -3).flatten(-2, -1)

    def _fits(self, x: Tensor) -> None:
        side = 16 if self.halved and x.ndim == 4 and x.shape[1] == 3 else 8
        if x.ndim != 4 or x.shape[1] not in (1, 3) or x.shape[-1] % side or x.shape[-2] % side or x.is_complex():
            raise UserError(
                f"JPEG takes real pictures (1 or 3, H, W) with sides that are multiples of {side}; got "
                f"{tuple(x.shape[1:])}"
            )
