"""Blurs of any kernel, with the image continued periodically or by zeros."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import LinearOperator, Shape, of_as_many
from pushforward.inverse.operators.singular import SingularSystem, inverse
from pushforward.numerics.broadcast import Scalar, expand


def _checked_kernel(kernel: Tensor, each: bool) -> None:
    fits = kernel.ndim in ((3, 4) if each else (2, 3)) and kernel.numel() and kernel.dtype.is_floating_point
    if not fits or not bool(torch.isfinite(kernel).all()):
        raise UserError(
            f"a blur needs a finite kernel of floats (h, w) or (C, h, w), with each=True behind an axis of items; got "
            f"{kernel.dtype} of shape {tuple(kernel.shape)}"
        )


def _checked_image(x: Tensor, kernel: Tensor, each: bool) -> None:
    if x.ndim < 3:
        raise UserError(f"a blur acts on images (B, …, H, W); got items of shape {tuple(x.shape[1:])}")
    channels = kernel.shape[-3] if kernel.ndim > 2 + each else 1
    if channels != 1 and (x.ndim != 4 or x.shape[1] != channels):
        raise UserError(
            f"a blur by {channels} kernels, one per channel, acts on images ({channels}, H, W); got items of shape "
            f"{tuple(x.shape[1:])}"
        )
    if each and x.ndim > 4:
        raise UserError(f"a blur by one kernel per item acts on images (B, C, H, W); got {tuple(x.shape)}")
    of_as_many(len(kernel) if each else None, x)


def transfer(kernel: Tensor, size: tuple[int, int], like: Tensor, each: bool) -> Tensor:
    """The Fourier transform on a grid (H, W) of kernels (…, h, w) centred at (h // 2, w // 2): complex (…, H, W).

    Taps that reach beyond the grid are wrapped around. The result has an axis of items, of 1 unless `each`.
    """
    kernel = kernel.to(like.device, like.real.dtype)
    height, width = kernel.shape[-2:]
    rows = (torch.arange(height, device=like.device) - height // 2) % size[0]
    columns = (torch.arange(width, device=like.device) - width // 2) % size[1]
    place = (rows[:, None] * size[1] + columns).flatten()
    grid = kernel.new_zeros(*kernel.shape[:-2], size[0] * size[1]).index_add(-1, place, kernel.flatten(-2))
    spectrum = torch.fft.fft2(grid.unflatten(-1, size))
    if not each:
        return spectrum[None] if spectrum.ndim == 3 else spectrum[None, None]
    return spectrum[:, None] if spectrum.ndim == 3 else spectrum


def _filter(x: Tensor, spectrum: Tensor) -> Tensor:
    """Multiply in the Fourier domain; real data stay real, with half of the spectrum."""
    if x.is_complex():
        return torch.fft.ifft2(torch.fft.fft2(x) * spectrum)
    half = spectrum[..., : x.shape[-1] // 2 + 1]
    return torch.fft.irfft2(torch.fft.rfft2(x) * half, s=x.shape[-2:])


@dataclass(frozen=True)
class Hartley(LinearOperator):
    """The real orthonormal transform Re F − Im F of the last two axes: symmetric, its own inverse."""

    @property
    def unitary(self) -> bool:
        return True

    @property
    def channelwise(self) -> bool:
        return True

    def __call__(self, x: Tensor) -> Tensor:
        if x.is_complex():
            return torch.complex(self(x.real), self(x.imag))
        spectrum = torch.fft.fft2(x, norm="ortho")
        return spectrum.real - spectrum.imag

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)


@dataclass(frozen=True, eq=False)
class _Phases(LinearOperator):
    """U of a blur: the Hartley transform, then each frequency turned by the phase of the kernel's."""

    blur: Blur

    def __call__(self, x: Tensor) -> Tensor:
        return _filter(Hartley()(x), self._phase(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return Hartley()(_filter(y, self._phase(y).conj()))

    def _phase(self, x: Tensor) -> Tensor:
        spectrum = self.blur.spectrum(x)
        size = spectrum.abs()
        return torch.where(size > 0, spectrum / torch.where(size > 0, size, 1), 1)


@dataclass(frozen=True, eq=False)
class Blur(LinearOperator):
    """y = k ∗ x in each channel with periodic boundary: (B, C, H, W) to the same shape, by FFT.

    `kernel` (h, w) or one per channel (C, h, w), of any size, centred at (h // 2, w // 2); taps that reach beyond the
    image are wrapped around. With `each`, kernels (B, h, w) or (B, C, h, w), one per item. The eigenvalues are the
    kernel's Fourier transform k̂; the singular system is real, s = |k̂|, V the Hartley transform, U that with phases.
    """

    kernel: Tensor
    each: bool = False

    def __post_init__(self) -> None:
        _checked_kernel(self.kernel, self.each)

    @property
    def items(self) -> int | None:
        return len(self.kernel) if self.each else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("kernel",) if self.each else ()

    @property
    def channelwise(self) -> bool:
        return self.kernel.ndim == 2

    def __call__(self, x: Tensor) -> Tensor:
        return _filter(x, self.spectrum(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return _filter(y, self.spectrum(y).conj())

    def gain(self, residual: Tensor, prior: Scalar, noise: Scalar) -> Tensor:
        # The closed form of the singular system, with one pair of transforms instead of four.
        _, conjugate, power = self._spectra(residual)
        shift = torch.as_tensor(expand(noise, residual.real), dtype=power.dtype, device=power.device)
        return _filter(residual, conjugate * inverse(expand(prior, residual.real) * power + shift))

    def spectrum(self, x: Tensor) -> Tensor:
        """The eigenvalues of A on the grid of the images `x`: complex (1 or B, 1 or C, H, W). Kept.

        Where items are (H, W) there is no axis of channels.
        """
        return self._spectra(x)[0]

    def _spectra(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The eigenvalues, then their conjugates and squares without what is rounding. Kept."""
        _checked_image(x, self.kernel, self.each)
        size = (x.shape[-2], x.shape[-1])
        kept: dict[object, tuple[Tensor, Tensor, Tensor]] = self.__dict__.setdefault("_kept", {})
        key = (size, x.ndim == 3, x.dtype, x.device)
        if key not in kept:
            with torch.inference_mode(False), torch.no_grad():
                whole = transfer(self.kernel.clone(), size, torch.zeros((), dtype=x.dtype, device=x.device), self.each)
                whole = whole[:, 0] if x.ndim == 3 else whole
                power = whole.abs().square()
                # Frequencies that the kernel removes are told from rounding by their share of the strongest.
                strongest = power.flatten(1).amax(1).reshape(-1, *[1] * (power.ndim - 1))
                seen = power > (8 * torch.finfo(power.dtype).eps) ** 2 * strongest
                kept[key] = whole, torch.where(seen, whole, 0).conj().resolve_conj(), torch.where(seen, power, 0)
        return kept[key]

    def _svd(self, shape: Shape) -> SingularSystem:
        s = self.spectrum(torch.zeros(self.items or 1, *shape, dtype=torch.float64)).abs()
        return SingularSystem(_Phases(self), s.expand(len(s), *shape), Hartley())


@dataclass(frozen=True, eq=False)
class ZeroBlur(LinearOperator):
    """y = k ∗ x with zeros outside of the image: same shape and kernels as `Blur`, without a singular system.

    For a kernel that is a product of a column and a row, `separable_blur` has one.
    """

    kernel: Tensor
    each: bool = False

    def __post_init__(self) -> None:
        _checked_kernel(self.kernel, self.each)

    @property
    def items(self) -> int | None:
        return len(self.kernel) if self.each else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("kernel",) if self.each else ()

    @property
    def channelwise(self) -> bool:
        return self.kernel.ndim == 2

    def __call__(self, x: Tensor) -> Tensor:
        return self._filtered(x, False)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._filtered(y, True)

    def _filtered(self, x: Tensor, conjugate: bool) -> Tensor:
        """By a periodic filter on a grid with room for the kernel's reach."""
        _checked_image(x, self.kernel, self.each)
        height, width = x.shape[-2:]
        size = (height + self.kernel.shape[-2], width + self.kernel.shape[-1])
        spectrum = transfer(self.kernel, size, x, self.each)
        spectrum = spectrum[:, 0] if x.ndim == 3 else spectrum
        padded = torch.nn.functional.pad(x, (0, size[1] - width, 0, size[0] - height))
        return _filter(padded, spectrum.conj() if conjugate else spectrum)[..., :height, :width]


def gaussian_kernel(size: int, width: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """A normalised Gaussian kernel (size, size) of standard deviation `width` in pixels."""
    if size < 1 or not width > 0:
        raise UserError(f"a Gaussian kernel needs a size of at least 1 and a width above 0; got {size} and {width}")
    at = torch.arange(size, dtype=torch.float64) - size // 2
    line = torch.exp(-0.5 * (at / width) ** 2)
    return (line[:, None] * line / line.sum() ** 2).to(dtype)
