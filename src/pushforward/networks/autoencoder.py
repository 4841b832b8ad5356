"""Convolutional encoders and decoders of images of any size, to a vector or to a small map of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive
from pushforward.networks.layers import group_norm, scaled
from pushforward.networks.perceptron import add_label

_WIDEST = 4  # times the width of the first level


class _Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = group_norm(channels), group_norm(channels)
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = scaled(nn.Conv2d(channels, channels, 3, padding=1), 0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(functional.silu(self.norm_in(x)))
        return x + self.outer(functional.silu(self.norm_out(h)))


def halvings(shape: Sequence[int]) -> int:
    """How often an image (C, H, W) is halved until its longer side is at most 4."""
    return max(0, math.ceil(math.log2(max(shape[1:]) / 4)))


def sizes(shape: Sequence[int], levels: int) -> list[tuple[int, int]]:
    """Height and width at each level, 0 … levels: halved and rounded up."""
    return [(-(-shape[1] // 2**i), -(-shape[2] // 2**i)) for i in range(levels + 1)]


def _widths(width: int, levels: int) -> list[int]:
    return [min(width * 2**i, width * _WIDEST) for i in range(levels + 1)]


class SpatialEncoder(nn.Module):
    """net(x, label): images (B, C, H, W) to a map (B, outputs, h, w), h and w halved `levels` times, rounded up."""

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        width: int = 32,
        levels: int | None = None,
        blocks: int = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        levels = halvings(shape) if levels is None else levels
        require_positive(outputs=outputs, width=width, blocks=blocks)
        self.shape, widths = tuple(shape), _widths(width, levels)
        self.grid = sizes(shape, levels)[-1]
        self.input = nn.Conv2d(shape[0], widths[0], 3, padding=1)
        self.label = nn.Embedding(num_classes, widths[0]) if num_classes else None
        layers: list[nn.Module] = []
        for level, w in enumerate(widths):
            if level:
                layers.append(nn.Conv2d(widths[level - 1], w, 3, stride=2, padding=1))
            layers += [_Residual(w) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, group_norm(widths[-1]), nn.SiLU())
        self.output = nn.Conv2d(widths[-1], outputs, 1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        if x.shape[1:] != self.shape:
            raise UserError(
                f"The encoder was built for images of shape {self.shape}, but was given {tuple(x.shape[1:])}."
            )
        return self.output(self.layers(add_label(self.input(x), self.label, label)))


class SpatialDecoder(nn.Module):
    """net(h, label): a map (B, inputs, h, w) to (B, C, H, W), of `shape`; the encoder's mirror image."""

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        width: int = 32,
        levels: int | None = None,
        blocks: int = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        levels = halvings(shape) if levels is None else levels
        require_positive(inputs=inputs, width=width, blocks=blocks)
        widths = _widths(width, levels)
        self.sizes = sizes(shape, levels)
        self.input = nn.Conv2d(inputs, widths[-1], 1)
        self.label = nn.Embedding(num_classes, widths[-1]) if num_classes else None
        self.blocks = nn.ModuleList(nn.Sequential(*(_Residual(w) for _ in range(blocks))) for w in widths)
        self.up = nn.ModuleList(
            nn.Conv2d(widths[level], widths[level - 1], 3, padding=1) for level in range(1, levels + 1)
        )
        self.norm = group_norm(widths[0])
        self.output = nn.Conv2d(widths[0], shape[0], 3, padding=1)

    def forward(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        h = add_label(self.input(h), self.label, label)
        for level in reversed(range(len(self.blocks))):
            h = self.blocks[level](h)
            if level:
                h = self.up[level - 1](functional.interpolate(h, self.sizes[level - 1], mode="nearest"))
        return self.output(functional.silu(self.norm(h)))


class ConvEncoder(nn.Module):
    """net(x, label): images (B, C, H, W) to vectors (B, outputs)."""

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        width: int = 32,
        levels: int | None = None,
        blocks: int = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        require_positive(outputs=outputs)
        levels = halvings(shape) if levels is None else levels
        features = _widths(width, levels)[-1]
        self.trunk = SpatialEncoder(shape, features, width, levels, blocks, num_classes)
        self.output = nn.Linear(features * math.prod(self.trunk.grid), outputs)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.output(functional.silu(self.trunk(x, label)).flatten(1))


class ConvDecoder(nn.Module):
    """net(z, label): vectors (B, inputs) to images (B, C, H, W), of `shape`."""

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        width: int = 32,
        levels: int | None = None,
        blocks: int = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        require_positive(inputs=inputs)
        levels = halvings(shape) if levels is None else levels
        features, self.grid = _widths(width, levels)[-1], sizes(shape, levels)[-1]
        self.inputs = inputs
        self.input = nn.Linear(inputs, features * math.prod(self.grid))
        self.trunk = SpatialDecoder(features, shape, width, levels, blocks, num_classes)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if z.shape[1:] != (self.inputs,):
            raise UserError(
                f"The decoder was built for vectors of {self.inputs} numbers, but was given {tuple(z.shape[1:])}."
            )
        h = functional.silu(self.input(z))
        return self.trunk(h.unflatten(1, (-1, *self.grid)), label)
