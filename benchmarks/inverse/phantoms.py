"""Complex pictures for MRI without anybody's data: ellipses or photographs with a smooth phase, and coil maps.

All is a function of its number alone, so training and test pictures never meet.
"""

from __future__ import annotations

import math

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional

from pushforward.numerics.random import Draws

ELLIPSES = 12


def _grid(size: int) -> tuple[Tensor, Tensor]:
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    return at[:, None], at[None, :]


def phantoms(first: int, count: int, size: int = 128) -> Tensor:
    """(count, 2, size, size): real and imaginary part, magnitudes in [0, 1]: a head, and ellipses within it."""
    down, along = _grid(size)
    u = Draws.of(0, range(first, first + count), "phantom").uniform((ELLIPSES, 6))[..., None, None]
    picture = torch.zeros(count, size, size)
    for i in range(ELLIPSES):
        x, y, a, b, turn, value = u[:, i].unbind(1)
        if i == 0:  # the head
            x, y, a, b, value = x * 0 + 0.5, y * 0 + 0.5, 0.8 + a * 0.15, 0.8 + b * 0.15, 0.6 + 0 * value
            centre, axes = (0.0, 0.0), (a * 0.95, b * 0.8)
        else:
            centre, axes = (1.1 * (x - 0.5), 0.9 * (y - 0.5)), (0.03 + 0.3 * a**2, 0.03 + 0.3 * b**2)
        angle = math.pi * turn
        p = (along - centre[0]) * angle.cos() + (down - centre[1]) * angle.sin()
        q = (down - centre[1]) * angle.cos() - (along - centre[0]) * angle.sin()
        # The edge is one pixel wide.
        distance = ((p / axes[0]) ** 2 + (q / axes[1]) ** 2).sqrt() - 1
        inside = (0.5 - distance * torch.minimum(*map(torch.as_tensor, axes)) * size / 2).clamp(0, 1)
        inside = inside * (picture > 0) if i else inside
        picture = picture + inside * (value - 0.6 * (i > 0)) * (0.8 if i else 1.0)
    return with_phase(picture.clamp(0, 1), first)


def with_phase(magnitude: Tensor, first: int) -> Tensor:
    """(N, H, W) to (N, 2, H, W) by a phase that is smooth over the picture, another for each."""
    down, along = _grid(magnitude.shape[-1])
    w = Draws.of(0, range(first, first + len(magnitude)), "phase").normal((4,))[..., None, None]
    phase = w[:, 0] + 0.7 * w[:, 1] * down + 0.7 * w[:, 2] * along + 0.5 * w[:, 3] * down * along
    return torch.stack((magnitude * phase.cos(), magnitude * phase.sin()), 1)


def photograph(name: str) -> Tensor:
    """One of scikit-learn's two photographs, `china.jpg` and `flower.jpg`, grey in [0, 1]: (427, 640)."""
    return torch.from_numpy(load_sample_image(name).copy()).float().mean(-1) / 255


def crops(picture: Tensor, first: int, count: int, size: int) -> Tensor:
    """Random squares of a grey picture (H, W), half of them of the picture at half its size: (count, size, size)."""
    halves = (picture, functional.avg_pool2d(picture[None], 2)[0])
    found = []
    for number, (x, y, mirror) in enumerate(Draws.of(0, range(first, first + count), "crop").uniform((3,)).tolist()):
        source = halves[(first + number) % 2]
        top, left = (int(u * (n - size + 1)) for u, n in zip((y, x), source.shape, strict=True))
        square = source[top : top + size, left : left + size]
        found.append(square.flip(-1) if mirror < 0.5 else square)
    return torch.stack(found)


def coil_maps(coils: int = 6, size: int = 128) -> Tensor:
    """Complex maps (coils, size, size) of loops around the head, Σ|map|² = 1."""
    down, along = _grid(size)
    angle = 2 * math.pi * torch.arange(coils)[:, None, None] / coils
    away = (along - 1.2 * angle.cos()) ** 2 + (down - 1.2 * angle.sin()) ** 2
    maps = torch.polar(torch.exp(-away / 1.2), angle + 0.8 * (along * angle.cos() + down * angle.sin()))
    return maps / maps.abs().square().sum(0).sqrt()


def lines(size: int, factor: int, centre: float = 0.08) -> Tensor:
    """Which lines of k-space are measured, bool (1, size): the middle, and others drawn evenly, size/factor in all."""
    wanted, middle = size // factor, max(2, round(centre * size))
    kept = torch.zeros(size, dtype=torch.bool)
    kept[size // 2 - middle // 2 : size // 2 + (middle + 1) // 2] = True
    order = torch.argsort(Draws.of(factor, [0], "lines").uniform((size,))[0])
    rest = order[~kept[order]][: max(wanted - int(kept.sum()), 0)]
    kept[rest] = True
    return kept[None]
