"""Linear operators y = A x with their adjoints, and the regularised inverse that guidance needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.solve import conjugate_gradients
from pushforward.numerics.broadcast import Scalar, expand


class LinearOperator(ABC):
    """y = A x per sample: (B, …) to (B, …). A subclass gives A and Aᵀ, and `gain` where it has a closed form."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """A x. Raises UserError for items of a shape that A does not take."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀ y, so that ⟨A x, y⟩ = ⟨x, Aᵀ y⟩."""

    def measured(self, y: Tensor) -> Tensor:
        """y with zeros where its entries are no measurements (those that a mask leaves out)."""
        return y

    def gain(self, residual: Tensor, prior: Scalar, noise: Scalar) -> Tensor:
        """Aᵀ (prior·A Aᵀ + noise·I)⁻¹ residual, with variances `prior` and `noise` (floats or one per sample, (B,)).

        Where noise = 0 the inverse is the pseudo-inverse. Here by conjugate gradients; exact to √eps of the dtype.
        """
        u = conjugate_gradients(lambda v: expand(prior, v) * self(self.adjoint(v)) + expand(noise, v) * v, residual)
        return self.adjoint(u)


@dataclass(frozen=True, eq=False)
class Mask(LinearOperator):
    """y = m ⊙ x: what the mask keeps is measured, all else is zero.

    `mask` holds 1 (measured) and 0, of the shape of one item or broadcastable to it, e.g. (H, W) for (C, H, W); with a
    leading axis of the batch's length it is a mask per sample.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            if not bool(((self.mask == 0) | (self.mask == 1)).all()):
                raise UserError("a mask holds 1 where a value is measured and 0 elsewhere; got other numbers")
            object.__setattr__(self, "mask", self.mask.bool())

    def __call__(self, x: Tensor) -> Tensor:
        return x * self._mask(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)

    def measured(self, y: Tensor) -> Tensor:
        return self(y)

    def gain(self, residual: Tensor, prior: Scalar, noise: Scalar) -> Tensor:
        return self(residual) * _inverse(expand(prior, residual) + expand(noise, residual))

    def _mask(self, x: Tensor) -> Tensor:
        mask = self.mask.to(x.device, x.dtype)
        try:
            fits = torch.broadcast_shapes(mask.shape, x.shape) == x.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise UserError(
                f"a mask of shape {tuple(mask.shape)} does not fit items of shape {tuple(x.shape[1:])}; "
                "give it the shape of one item"
            )
        return mask


@dataclass(frozen=True, eq=False)
class Blur(LinearOperator):
    """y = k ∗ x in each channel with periodic boundary: (B, C, H, W) to the same shape, by FFT.

    `kernel` (h, w) of any size, centred at (h // 2, w // 2); taps that reach beyond the image are wrapped around.
    """

    kernel: Tensor

    def __post_init__(self) -> None:
        if self.kernel.ndim != 2 or not self.kernel.numel() or not self.kernel.dtype.is_floating_point:
            raise UserError(f"a blur needs a kernel of floats (h, w); got {tuple(self.kernel.shape)}")

    def __call__(self, x: Tensor) -> Tensor:
        return self._filter(x, self._transfer(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._filter(y, self._transfer(y).conj())

    def gain(self, residual: Tensor, prior: Scalar, noise: Scalar) -> Tensor:
        transfer = self._transfer(residual)
        power = transfer.abs().square()
        # Frequencies that the kernel removes are told from rounding by their share of the strongest.
        power = torch.where(power > (8 * torch.finfo(power.dtype).eps) ** 2 * power.max(), power, 0)
        return self._filter(
            residual, transfer.conj() * _inverse(expand(prior, residual) * power + expand(noise, residual))
        )

    def _transfer(self, x: Tensor) -> Tensor:
        """The eigenvalues of A, the kernel's Fourier transform on the image's grid: complex (H, W // 2 + 1)."""
        if x.ndim < 3:
            raise UserError(f"a blur acts on images (B, …, H, W); got items of shape {tuple(x.shape[1:])}")
        height, width = x.shape[-2:]
        kernel = self.kernel.to(x.device, x.dtype)
        rows = (torch.arange(kernel.shape[0], device=x.device) - kernel.shape[0] // 2) % height
        columns = (torch.arange(kernel.shape[1], device=x.device) - kernel.shape[1] // 2) % width
        periodic = x.new_zeros(height, width)
        periodic = periodic.index_put((rows[:, None], columns[None, :]), kernel, accumulate=True)
        return torch.fft.rfft2(periodic)

    @staticmethod
    def _filter(x: Tensor, transfer: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * transfer, s=x.shape[-2:])


def _inverse(x: Scalar) -> Scalar:
    """1/x, and 0 where x = 0."""
    if isinstance(x, Tensor):
        return torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)
    return 1 / x if x > 0 else 0.0


def gaussian_kernel(size: int, width: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """A normalised Gaussian kernel (size, size) of standard deviation `width` in pixels."""
    if size < 1 or not width > 0:
        raise UserError(f"a Gaussian kernel needs a size of at least 1 and a width above 0; got {size} and {width}")
    at = torch.arange(size, dtype=torch.float64) - size // 2
    line = torch.exp(-0.5 * (at / width) ** 2)
    return (line[:, None] * line / line.sum() ** 2).to(dtype)
