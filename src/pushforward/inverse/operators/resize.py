"""Super-resolution: what a coarser camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.dense import Separable
from pushforward.inverse.operators.elementwise import Identity
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.operators.singular import SingularSystem


@dataclass(frozen=True)
class AveragePool(LinearOperator):
    """Means of blocks of f × f pixels: (…, H, W) to (…, H/f, W/f). A A* = I/f², so s = 1/f, U = I, V = f A*."""

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise UserError(f"a factor of super-resolution is at least 1; got {self.factor}")

    @property
    def channelwise(self) -> bool:
        return True

    def __call__(self, x: Tensor) -> Tensor:
        f = self.factor
        if x.ndim < 3 or x.shape[-1] % f or x.shape[-2] % f:
            raise UserError(f"pooling by {f} needs images whose sides are multiples of {f}; got {tuple(x.shape[1:])}")
        return x.unflatten(-1, (-1, f)).unflatten(-3, (-1, f)).mean((-1, -3))

    def adjoint(self, y: Tensor) -> Tensor:
        f = self.factor
        return y.repeat_interleave(f, -1).repeat_interleave(f, -2) / f**2

    def _svd(self, shape: Shape) -> SingularSystem:
        f = self.factor
        s = torch.full((1, *shape[:-2], shape[-2] // f, shape[-1] // f), 1 / f, dtype=torch.float64)
        return SingularSystem(Identity(), s, self.T * float(f))


def bicubic_weights(size: int, factor: int, sharpness: float = -0.5) -> Tensor:
    """(size / factor, size): Keys' cubic (1981) of parameter `sharpness`, widened by the factor against aliasing.

    Weights of each output sum to one; at the borders those within the image are normalised.
    """
    if factor < 1 or size % factor:
        raise UserError(f"bicubic down-sampling by {factor} needs sides that are its multiples; got {size}")
    centres = (torch.arange(size // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    d = ((torch.arange(size, dtype=torch.float64) - centres[:, None]) / factor).abs()
    a = sharpness
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    weights = torch.where(d <= 1, near, torch.where(d < 2, far, 0))
    return weights / weights.sum(1, keepdim=True)


def bicubic(size: tuple[int, int], factor: int) -> Separable:
    """Bicubic super-resolution of images (…, *size) by a factor, as Pillow and MATLAB reduce pictures."""
    return Separable(bicubic_weights(size[0], factor), bicubic_weights(size[1], factor))
