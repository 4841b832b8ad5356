"""Filtered back-projection: the classical inverse of the Radon transform, a baseline and a first estimate."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.radon import Radon

Window = Callable[[Tensor], Tensor]
"""What the ramp filter is multiplied by, as a function of frequency, 0 … 1 = Nyquist."""


def hann(frequency: Tensor) -> Tensor:
    """cos²(πf/2): smooths what noise would roughen."""
    return (frequency * (math.pi / 2)).cos().square()


def ramp(detectors: int, step: float) -> Tensor:
    """The transform of the band-limited ramp (Ramachandran & Lakshminarayanan 1971), padded: real (n // 2 + 1,)."""
    length = 1 << max(6, math.ceil(math.log2(2 * detectors)))
    at = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64)
    odd = at.long() % 2 == 1
    taps = torch.where(odd, -1 / (math.pi * torch.where(odd, at, 1)) ** 2, 0)
    taps[0] = 0.25
    return torch.fft.rfft(taps).real / step


def filtered_back_projection(radon: Radon, y: Tensor, window: Window | None = None) -> Tensor:
    """x (B, C, H, W) from line integrals y (B, C, views, detectors), for views evenly over π or 2π (fan beams: 2π).

    x = (π/views) Σ_θ w · (ramp ∗ weighted y)(ray through the pixel), linearly interpolated (Kak & Slaney 1988, ch. 3).
    """
    geometry = radon.geometry
    if tuple(y.shape[1:]) != radon.image:
        raise UserError(f"line integrals of shape {radon.image} were expected, and {tuple(y.shape[1:])} was given")
    response = ramp(geometry.detectors, geometry.step)
    if window is not None:
        response = response * window(torch.linspace(0, 1, len(response), dtype=torch.float64))
    length = 2 * (len(response) - 1)
    weighted = y * geometry.weights().to(y.device, y.dtype)
    filtered = torch.fft.irfft(torch.fft.rfft(weighted, length) * response.to(y.device, y.dtype), length)
    filtered = filtered[..., : geometry.detectors]
    height, width = radon.size
    down = (height - 1) / 2 - torch.arange(height, dtype=torch.float64, device=y.device)[:, None]
    along = torch.arange(width, dtype=torch.float64, device=y.device) - (width - 1) / 2
    points = (along.expand(height, width), down.expand(height, width))
    total = y.new_zeros(*y.shape[:2], height, width)
    for view, angle in enumerate(geometry.angles.to(y.device).double()):
        at, weight = geometry.seen(*points, angle)
        place = at / geometry.step + (geometry.detectors - 1) / 2
        total = total + weight.to(y.dtype) * _interpolated(filtered[..., view, :], place)
    return total * (math.pi / len(geometry.angles))


def _interpolated(line: Tensor, place: Tensor) -> Tensor:
    """The values of (…, cells) at fractional places (H, W), linearly; 0 outside."""
    low = place.floor().long()
    share = (place - low).to(line.dtype)
    padded = torch.nn.functional.pad(line, (1, 1))
    left, right = (
        padded[..., (low + offset).clamp(0, padded.shape[-1] - 1).flatten()].unflatten(-1, place.shape)
        for offset in (1, 2)
    )
    return (1 - share) * left + share * right
