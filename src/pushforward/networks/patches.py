"""A discriminator that judges overlapping patches of a picture, each by itself (Isola et al. 2017)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive
from pushforward.networks.layers import group_norm
from pushforward.networks.players import SLOPE, initialised


class PatchDiscriminator(nn.Module):
    """d(x): pictures (B, channels, H, W) to one value per patch, (B, 1, h, w), h and w about H and W over 2^levels.

    Normalised within an item and not across a batch, so that the value of an item is its own.
    """

    def __init__(self, channels: int, width: int = 32, levels: int = 2) -> None:
        super().__init__()
        require_positive(channels=channels, width=width, levels=levels)
        self.settings: dict[str, Any] = {"channels": channels, "width": width, "levels": levels}
        self.channels = channels
        widths = [min(width * 2**level, 8 * width) for level in range(levels)]
        layers: list[nn.Module] = []
        before = channels
        for level, w in enumerate(widths):
            layers.append(initialised(nn.Conv2d(before, w, 4, stride=2, padding=1)))
            layers += [group_norm(w)] if level else []
            layers.append(nn.LeakyReLU(SLOPE))
            before = w
        layers.append(initialised(nn.Conv2d(before, 1, 3, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise UserError(
                f"The discriminator was built for pictures of {self.channels} channels, but was given {tuple(x.shape)}."
            )
        return self.layers(x)
