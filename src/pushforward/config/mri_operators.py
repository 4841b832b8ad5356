"""Operators of magnetic resonance in operator files: lines of k-space, seen by one coil or by several."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.config.operator_files import MEASURED, Source, image
from pushforward.config.operator_schema import FourierOperator, LinesSection, SenseOperator, SpectrumOperator
from pushforward.errors import UserError
from pushforward.inverse import (
    ChannelsAsComplex,
    Fourier,
    LinearOperator,
    RealAsComplex,
    estimate_maps,
    sense,
    subsampled_fourier,
)
from pushforward.numerics.random import Draws

Shape = tuple[int, ...]


def as_complex(shape: Shape) -> LinearOperator:
    """Images of two channels are real and imaginary part, all others are real."""
    return ChannelsAsComplex() if shape[0] == 2 else RealAsComplex()


def spectrum(section: SpectrumOperator, shape: Shape, source: Source) -> LinearOperator:
    image(section.kind, shape)
    return Fourier(centred=True) @ as_complex(shape)


def single_coil(section: FourierOperator, shape: Shape, source: Source) -> LinearOperator:
    _, height, width = image(section.kind, shape)
    return subsampled_fourier(lines(section, (height, width), source)) @ as_complex(shape)


def several_coils(section: SenseOperator, shape: Shape, source: Source) -> LinearOperator:
    channels, height, width = image(section.kind, shape)
    if channels > 2:
        raise UserError(f"kind = sense takes images of one channel, or real and imaginary part; these have {channels}")
    source = source.of_coils()
    mask = lines(section, (height, width), source)
    found = maps(section, source, mask, real=channels == 1)
    if tuple(found.shape[-2:]) != (height, width):
        raise UserError(f"the coil maps are {tuple(found.shape[-2:])}, and images here are {height}×{width}")
    return sense(found, mask) @ as_complex(shape)


def maps(section: SenseOperator, source: Source, mask: Tensor, real: bool) -> Tensor:
    """Coil maps (coils, H, W), or (items, coils, H, W), of a file or estimated from the middle of k-space.

    Where images are `real`, estimated maps take up their phase. Raises UserError where `mask` leaves out some of the
    middle: what was not measured would be taken for zero.
    """
    if section.maps != "estimated":
        found = torch.from_numpy(source.array(section.maps))
        return found.to(torch.complex128) if found.is_complex() else torch.complex(found.double(), 0 * found.double())
    kspace = torch.from_numpy(source.taken("its coil maps").y)
    calibration = min(section.calibration, *kspace.shape[-2:])
    whole = next((n for n in range(calibration, 0, -1) if bool(_middle(mask, n).all())), 0)
    if whole < calibration:
        raise UserError(
            f"coil maps are estimated from the {calibration} lines in the middle of k-space, and {whole} of them are "
            f"measured in full: say calibration = {max(whole, 1)}, or give maps"
        )
    found = estimate_maps(kspace.to(torch.complex128), calibration, real=real)
    return found[0] if len(found) == 1 else found


def _middle(mask: Tensor, count: int) -> Tensor:
    """The middle `count` of both axes, zero frequency at n // 2 among them."""
    rows, columns = (slice((n - count + 1) // 2, (n + count + 1) // 2) for n in mask.shape[-2:])
    return mask[..., rows, columns]


def lines(section: LinesSection, size: tuple[int, int], source: Source) -> Tensor:
    """Centred mask of k-space (H, W), or of each item (items, 1, H, W): a file's, or columns around 0 and at random."""
    height, width = size
    if section.file is not None:
        mask = source.mask(section.file)
        if section.file == MEASURED and len(mask) == 1:
            mask = mask[0]
        return mask
    wanted = max(1, round(width / section.acceleration))
    centre = min(wanted, max(1, round(section.centre * width)))
    order = Draws.of(section.seed, range(1), "lines").uniform((width,), torch.float64)[0]
    # Zero frequency is at width // 2: an odd number of lines lies evenly around it.
    first = width // 2 - centre // 2
    order[first : first + centre] = -1.0
    mask = torch.zeros(width, dtype=torch.bool)
    mask[order.argsort()[:wanted]] = True
    return mask.expand(height, width).clone()
