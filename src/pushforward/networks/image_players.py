"""Generator and discriminator of images: residual convolutions, no normalisation (after Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive
from pushforward.networks.labels import check_class
from pushforward.networks.players import (
    Block,
    ClassInput,
    Projection,
    activation,
    initialised,
    linear,
    sizes,
    usual_multipliers,
)


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """A change of width, linear, and residual blocks."""
    change = nn.Identity() if inputs == outputs else linear(nn.Conv2d(inputs, outputs, 1))
    return nn.Sequential(change, *(Block(outputs) for _ in range(blocks)))


def _image(shape: Sequence[int], what: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise UserError(f"{what} makes images of a shape (channels, height, width), but was given {tuple(shape)}.")
    channels, height, width = shape
    require_positive(channels=channels, height=height, width=width)
    return channels, height, width


class ImageGenerator(nn.Module):
    """g(z, label) for images: z (B, latent), label (B,) or None, to (B, *shape), shape = (C, H, W).

    Level i has `width · multipliers[i]` channels and half the size of level i − 1, rounded up; z becomes the deepest
    level by one linear layer, and each level is doubled by repeating pixels. `multipliers` defaults to
    as many levels as lead down to about 4 × 4. Values are not bounded. Raises UserError for other shapes or labels.
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        width: int = 64,
        multipliers: Sequence[int] | None = None,
        blocks: int = 1,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        channels, high, wide = _image(shape, "An image generator")
        multipliers = usual_multipliers(high, wide) if multipliers is None else tuple(multipliers)
        require_positive(latent=latent, width=width, blocks=blocks, levels=len(multipliers))
        self.settings: dict[str, Any] = {
            "latent": latent,
            "shape": list(shape),
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "num_classes": num_classes,
        }
        self.latent, self.shape, self.num_classes = latent, (channels, high, wide), num_classes
        self.sizes = sizes(high, wide, len(multipliers))[::-1]
        widths = [width * multiplier for multiplier in multipliers][::-1]
        self.condition = ClassInput(latent, num_classes)
        self.start = (widths[0], *self.sizes[0])
        self.input = linear(nn.Linear(self.condition.features, widths[0] * self.sizes[0][0] * self.sizes[0][1]))
        pairs = zip([widths[0], *widths[:-1]], widths, strict=True)
        self.stages = nn.ModuleList(_stage(before, after, blocks) for before, after in pairs)
        self.output = initialised(nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise UserError(f"The generator needs z of shape (batch, {self.latent}), but was given {tuple(z.shape)}.")
        check_class(label, len(z), self.num_classes, "The generator")
        h = self.input(self.condition(z, label)).unflatten(1, self.start)
        for size, stage in zip(self.sizes, self.stages, strict=True):
            h = stage(h if h.shape[2:] == size else functional.interpolate(h, size, mode="nearest"))
        return self.output(activation(h))


class ImageDiscriminator(nn.Module):
    """d(x, label) for images: x (B, *shape), label (B,) or None, to one value each, (B,).

    The levels are those of `ImageGenerator`, in the other direction, halved by means over pixels; labels enter by
    projection. Raises UserError for other shapes or labels.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 64,
        multipliers: Sequence[int] | None = None,
        blocks: int = 1,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        channels, high, wide = _image(shape, "An image discriminator")
        multipliers = usual_multipliers(high, wide) if multipliers is None else tuple(multipliers)
        require_positive(width=width, blocks=blocks, levels=len(multipliers))
        self.settings: dict[str, Any] = {
            "shape": list(shape),
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "num_classes": num_classes,
        }
        self.shape, self.num_classes = (channels, high, wide), num_classes
        widths = [width * multiplier for multiplier in multipliers]
        last = sizes(high, wide, len(multipliers))[-1]
        self.input = linear(nn.Conv2d(channels, widths[0], 3, padding=1))
        pairs = zip([widths[0], *widths[:-1]], widths, strict=True)
        self.stages = nn.ModuleList(_stage(before, after, blocks) for before, after in pairs)
        self.features = initialised(nn.Linear(widths[-1] * last[0] * last[1], widths[-1]))
        self.value = Projection(widths[-1], num_classes)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        if x.shape[1:] != self.shape:
            raise UserError(
                f"The discriminator was built for items of {self.shape}, but was given {tuple(x.shape[1:])}."
            )
        check_class(label, len(x), self.num_classes, "The discriminator")
        h = self.input(x)
        for level, stage in enumerate(self.stages):
            h = stage(functional.avg_pool2d(h, 2, ceil_mode=True) if level else h)
        return self.value(activation(self.features(activation(h).flatten(1))), label)
