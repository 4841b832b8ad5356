"""Bijections of images (B, C, H, W): squeeze, convolutional conditioners, several scales (RealNVP; Glow)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.flows.bijection import Bijection, Chain, Layer
from pushforward.networks.checks import require_positive
from pushforward.networks.layers import scaled


class Squeeze(Layer):
    """(C, H, W) to (4C, H/2, W/2): each 2×2 block of pixels becomes channels. Sizes must be even."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.ndim != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            raise UserError(
                f"A squeeze halves the sides of images (B, C, H, W), which must be even; got {tuple(x.shape)}."
            )
        y = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 3, 5, 2, 4)
        return y.flatten(1, 3), x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if y.ndim != 4 or y.shape[1] % 4:
            raise UserError(f"Undoing a squeeze needs channels in fours; got {tuple(y.shape)}.")
        x = y.unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 2, 5, 3)
        return x.flatten(4, 5).flatten(2, 3), y.new_zeros(len(y))


class Flatten(Layer):
    """Images (B, C, H, W) of one shape to vectors (B, C·H·W)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != torch.Size(self.shape):
            raise UserError(f"This flow was built for items of shape {self.shape}; it was given {tuple(x.shape[1:])}.")
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.unflatten(1, self.shape), y.new_zeros(len(y))


class ChannelNet(nn.Module):
    """3×3, 1×1 and 3×3 convolutions: (x (a, B, H, W), condition (B, c)) to (count, b, B, H, W), zero at the start.

    The condition is added to every hidden layer.
    """

    def __init__(self, inputs: int, features: int, count: int, width: int = 64, context: int = 0) -> None:
        super().__init__()
        require_positive(inputs=inputs, features=features, count=count, width=width)
        self.inputs, self.features, self.count, self.context = inputs, features, count, context
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 1)
        self.output = scaled(nn.Conv2d(width, count * features, 3, padding=1), 0.0)
        self.given = nn.Linear(context, 2 * width) if context else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        first, second = self._condition(context, x.shape[1])
        h = torch.relu(self.first(x.transpose(0, 1)) + first)
        h = torch.relu(self.second(h) + second)
        return self.output(h).unflatten(1, (self.count, self.features)).permute(1, 2, 0, 3, 4)

    def _condition(self, context: Tensor | None, batch: int) -> tuple[Tensor | float, Tensor | float]:
        shape = None if context is None else tuple(context.shape)
        if shape != ((batch, self.context) if self.context else None):
            wanted = f"({batch}, {self.context})" if self.context else "none"
            raise UserError(f"This flow expects a condition of shape {wanted}; it was given {shape or 'none'}.")
        if self.given is None or context is None:
            return 0.0, 0.0
        first, second = self.given(context)[:, :, None, None].chunk(2, 1)
        return first, second


class Multiscale(Layer):
    """Images (B, C, H, W) to vectors (B, C·H·W): after each level but the last, half of the channels are done.

    Level i squeezes the image, applies `levels[i]`, and splits it; `leaving[i]`, a `Coupling`, moves the second half,
    which leaves, given the first, which stays (with `Affine`, what leaves is Gaussian given what stays). There is one
    `leaving` fewer than levels.
    """

    def __init__(self, shape: Sequence[int], levels: Sequence[Bijection], leaving: Sequence[Bijection]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.shapes = scales(shape, len(levels))
        if len(leaving) != len(levels) - 1:
            raise UserError(f"{len(levels)} levels are left {len(levels) - 1} times; got {len(leaving)} maps for that.")
        last = len(levels) - 1
        self.steps = nn.ModuleList(
            Chain(Squeeze(), level, *([leaving[i]] if i < last else [])) for i, level in enumerate(levels)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x, self.shape)
        total, done = x.new_zeros(len(x)), []
        for i, step in enumerate(self.steps):
            x, log_det = step(x, context)
            total = total + log_det
            if i + 1 < len(self.steps):
                x, left = x.chunk(2, 1)
                done.append(left.flatten(1))
        return torch.cat((*done, x.flatten(1)), 1), total

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        sizes = [c * h * w for c, h, w in self.shapes]
        sizes = [*(size // 2 for size in sizes[:-1]), sizes[-1]]
        self._check(y, (sum(sizes),))
        *done, last = y.split(sizes, 1)
        x, total = last.unflatten(1, self.shapes[-1]), y.new_zeros(len(y))
        for i in reversed(range(len(self.shapes))):
            if i < len(done):
                c, h, w = self.shapes[i]
                x = torch.cat((x, done[i].unflatten(1, (c // 2, h, w))), 1)
            x, log_det = self._step(i).inverse(x, context)
            total = total + log_det
        return x, total

    def initialise(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        done = []
        for i in range(len(self.steps)):
            x = self._step(i).initialise(x, context)
            if i + 1 < len(self.steps):
                x, left = x.chunk(2, 1)
                done.append(left.flatten(1))
        return torch.cat((*done, x.flatten(1)), 1)

    def _step(self, i: int) -> Chain:
        step = self.steps[i]
        assert isinstance(step, Chain)
        return step

    def _check(self, x: Tensor, shape: tuple[int, ...]) -> None:
        if x.shape[1:] != torch.Size(shape):
            raise UserError(
                f"This flow was built for {self.shape}, so takes {shape}; it was given {tuple(x.shape[1:])}."
            )


def scales(shape: Sequence[int], levels: int) -> list[tuple[int, int, int]]:
    """(C, H, W) of each level, after its squeeze. Raises UserError where the sides cannot be halved that often."""
    if len(shape) != 3 or min(shape) < 1 or levels < 1:
        raise UserError(
            f"Several scales need images (channels, height, width) and levels; got {tuple(shape)}, {levels}."
        )
    c, h, w = shape
    found = []
    for i in range(levels):
        if h % 2 or w % 2:
            raise UserError(
                f"Images of {shape[1]}×{shape[2]} pixels can be halved {i} times, not {levels}; use fewer levels."
            )
        c, h, w = (4 if i == 0 else 2) * c, h // 2, w // 2
        found.append((c, h, w))
    return found
