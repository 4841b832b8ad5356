"""Multi-coil MRI (SENSE): every coil sees the image through a sensitivity of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.elementwise import Identity, Mask
from pushforward.inverse.operators.fourier import Fourier, complex_items
from pushforward.inverse.operators.operator import LinearOperator, Shape, of_as_many
from pushforward.inverse.operators.singular import SingularSystem


@dataclass(frozen=True, eq=False)
class Coils(LinearOperator):
    """x (B, 1, H, W) to (B, coils, H, W), multiplied by the complex maps (coils, H, W), or (B, coils, H, W) per item.

    A* A = Σ|map|² is diagonal: s its root, V = I.
    """

    maps: Tensor

    def __post_init__(self) -> None:
        if self.maps.ndim not in (3, 4) or not self.maps.is_complex():
            raise UserError(
                f"coil maps are complex, (coils, H, W) or one set per item; got {self.maps.dtype} of shape "
                f"{tuple(self.maps.shape)}"
            )
        if not bool(torch.isfinite(torch.view_as_real(self.maps)).all()):
            raise UserError("coil maps must be finite")

    @property
    def items(self) -> int | None:
        return len(self.maps) if self.maps.ndim == 4 else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("maps",) if self.maps.ndim == 4 else ()

    @property
    def x_shape(self) -> Shape:
        return (1, self.maps.shape[-2], self.maps.shape[-1])

    @property
    def x_complex(self) -> bool:
        return True

    def __call__(self, x: Tensor) -> Tensor:
        complex_items(x, "a set of coils")
        if tuple(x.shape[1:]) != self.x_shape:
            raise UserError(f"these coils see items of shape {self.x_shape}, and {tuple(x.shape[1:])} was given")
        of_as_many(self.items, x)
        return x * self.maps.to(x.device, x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        if tuple(y.shape[1:]) != tuple(self.maps.shape[-3:]):
            raise UserError(
                f"{self.maps.shape[-3]} coils measure items of shape {tuple(self.maps.shape[-3:])}, and "
                f"{tuple(y.shape[1:])} was given"
            )
        of_as_many(self.items, y)
        return (y * self.maps.to(y.device, y.dtype).conj()).sum(1, keepdim=True)

    def _svd(self, shape: Shape) -> SingularSystem:
        s = self.maps.abs().double().square().sum(-3, keepdim=True).sqrt()
        unit = Coils(self.maps / torch.where(s > 0, s, 1).to(self.maps.dtype))
        return SingularSystem(unit, s if s.ndim == 4 else s[None], Identity())


def sense(maps: Tensor, mask: Tensor, centred: bool = True) -> LinearOperator:
    """Multi-coil MRI: the frequencies that `mask`, (H, W), (1, W) or one per item, keeps of what each coil sees."""
    return Mask(mask) @ Fourier(centred) @ Coils(maps)


def estimate_maps(
    kspace: Tensor, calibration: int = 24, patch: int = 5, threshold: float = 0.02, real: bool = False
) -> Tensor:
    """Coil maps from the centre of k-space: (B, coils, H, W), centred, to the same shape, Σ|map|² = 1 or 0.

    The leading eigenvector of the coils' covariance over a patch around each pixel of the low-resolution images
    (Walsh, Gmitro & Marcellin 2000), its phase that of the strongest coil; zero where the image has less than
    `threshold` of its largest magnitude. `calibration` central lines must be measured in full. With `real`, the maps
    take up the phase of the low-resolution image as well, so that what they see is real and at least 0: for priors of
    magnitudes.
    """
    complex_items(kspace, "the estimate of coil maps")
    height, width = kspace.shape[-2:]
    if kspace.ndim != 4 or not 1 <= calibration <= min(height, width) or patch % 2 == 0:
        raise UserError(
            f"coil maps need k-space (B, coils, H, W), at most {min(height, width)} calibration lines and odd patches; "
            f"got {tuple(kspace.shape)}, {calibration} and {patch}"
        )
    window = torch.zeros_like(kspace)
    rows, columns = (slice((n - calibration + 1) // 2, (n + calibration + 1) // 2) for n in (height, width))
    taper = torch.hann_window(calibration + 2, periodic=False, dtype=kspace.real.dtype, device=kspace.device)[1:-1]
    window[..., rows, columns] = kspace[..., rows, columns] * (taper[:, None] * taper)
    images = Fourier(centred=True).adjoint(window)
    products = (images[:, :, None] * images[:, None].conj()).flatten(1, 2)
    near = torch.complex(_mean(products.real, patch), _mean(products.imag, patch))
    coils = kspace.shape[1]
    covariance = near.unflatten(1, (coils, coils)).movedim((1, 2), (-2, -1))
    values, vectors = torch.linalg.eigh(covariance)
    leading = vectors[..., -1].movedim(-1, 1)
    strongest = int(images.abs().sum((0, 2, 3)).argmax())
    phase = leading[:, strongest : strongest + 1]
    size = phase.abs()
    leading = leading * torch.where(size > 0, phase.conj() / torch.where(size > 0, size, 1), 1)
    if real:
        seen = (images * leading.conj()).sum(1, keepdim=True)
        leading = leading * torch.where(seen.abs() > 0, seen / torch.where(seen.abs() > 0, seen.abs(), 1), 1)
    power = values[..., -1].clamp(min=0).sqrt()[:, None]
    return torch.where(power >= threshold * power.amax((1, 2, 3), keepdim=True), leading, 0)


def _mean(x: Tensor, patch: int) -> Tensor:
    """Means over patches, of what lies within the image."""
    return torch.nn.functional.avg_pool2d(x, patch, 1, patch // 2, count_include_pad=False)
