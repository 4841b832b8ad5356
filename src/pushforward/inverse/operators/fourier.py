"""Fourier transforms, maps between real and complex items, and subsampled Fourier measurements (MRI)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.elementwise import Identity, Mask
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.operators.singular import SingularSystem

_AXES = (-2, -1)


def complex_items(x: Tensor, what: str) -> None:
    """Raises UserError where the items are real."""
    if not x.is_complex():
        raise UserError(
            f"{what} acts on complex images, and real ones were given: compose it with RealAsComplex() for real images "
            "or with ChannelsAsComplex() for real and imaginary parts in two channels"
        )


def real_items(x: Tensor, what: str) -> None:
    """Raises UserError where the items are complex."""
    if x.is_complex():
        raise UserError(f"{what} acts on real items, and complex ones were given: take real and imaginary parts apart")


@dataclass(frozen=True)
class Fourier(LinearOperator):
    """The unitary transform of the last two axes of complex images; with `centred`, zero frequency in the middle.

    The pixel (H // 2, W // 2) is then the origin of the image as well, as MRI has it.
    """

    centred: bool = False

    @property
    def x_complex(self) -> bool:
        return True

    @property
    def unitary(self) -> bool:
        return True

    @property
    def channelwise(self) -> bool:
        return True

    def __call__(self, x: Tensor) -> Tensor:
        complex_items(x, "a Fourier transform")
        if not self.centred:
            return torch.fft.fft2(x, norm="ortho")
        return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, _AXES), norm="ortho"), _AXES)

    def adjoint(self, y: Tensor) -> Tensor:
        complex_items(y, "an inverse Fourier transform")
        if not self.centred:
            return torch.fft.ifft2(y, norm="ortho")
        return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(y, _AXES), norm="ortho"), _AXES)

    def _svd(self, shape: Shape) -> SingularSystem:
        return SingularSystem(Identity(), torch.ones(1, *shape, dtype=torch.float64), self.T)


@dataclass(frozen=True)
class RealAsComplex(LinearOperator):
    """Real items as complex ones; the adjoint is the real part."""

    @property
    def x_complex(self) -> bool:
        return False

    @property
    def y_complex(self) -> bool:
        return True

    def __call__(self, x: Tensor) -> Tensor:
        real_items(x, "RealAsComplex")
        return torch.complex(x, torch.zeros_like(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return y.real.contiguous() if y.is_complex() else y


@dataclass(frozen=True)
class ChannelsAsComplex(LinearOperator):
    """Real and imaginary parts in 2C channels as C complex ones: (B, 2C, …) to (B, C, …); an isometry onto.

    Channels 0 … C − 1 are real parts, C … 2C − 1 the imaginary ones.
    """

    @property
    def x_complex(self) -> bool:
        return False

    @property
    def y_complex(self) -> bool:
        return True

    @property
    def unitary(self) -> bool:
        return True

    def __call__(self, x: Tensor) -> Tensor:
        real_items(x, "ChannelsAsComplex")
        if x.ndim < 2 or x.shape[1] % 2:
            raise UserError(f"complex channels need an even number of real ones; got items of {tuple(x.shape[1:])}")
        real, imaginary = x.chunk(2, 1)
        return torch.complex(real.contiguous(), imaginary.contiguous())

    def adjoint(self, y: Tensor) -> Tensor:
        complex_items(y, "the adjoint of ChannelsAsComplex")
        return torch.cat((y.real, y.imag), 1)

    def _svd(self, shape: Shape) -> SingularSystem:
        return SingularSystem(self, torch.ones(1, *shape, dtype=torch.float64), Identity())


def subsampled_fourier(mask: Tensor, centred: bool = True) -> LinearOperator:
    """Single-coil MRI: the frequencies that `mask` keeps, (H, W), (1, W) for whole columns, or (B, 1, H, W).

    Measurements have the shape of the image with zeros where nothing was measured. s = mask, V the inverse transform.
    """
    return Mask(mask) @ Fourier(centred)
