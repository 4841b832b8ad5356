"""A small U-Net for images (Ronneberger et al. 2015; with the conditioning of Dhariwal & Nichol 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.checks import check_input, check_label, require_positive
from pushforward.networks.embedding import Conditioning
from pushforward.networks.layers import dropout_layer, group_norm, scaled
from pushforward.numerics.dropout import number_dropouts

_HEAD = 32  # channels per attention head


class _Residual(nn.Module):
    """skip(x) + conv(dropout(silu(film(norm(conv(silu(norm x)))))))."""

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float, residual: float) -> None:
        super().__init__()
        self.norm_in = group_norm(inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm_out = group_norm(outputs, affine=False)
        self.dropout = dropout_layer(dropout)
        self.conv_out = scaled(nn.Conv2d(outputs, outputs, 3, padding=1), residual)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(functional.silu(self.norm_in(x)))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        h = torch.addcmul(shift, self.norm_out(h), 1 + scale)
        return self.skip(x) + self.conv_out(self.dropout(functional.silu(h)))


class _Attention(nn.Module):
    """x plus the self-attention of its pixels, in heads of about 32 channels."""

    def __init__(self, channels: int, residual: float) -> None:
        super().__init__()
        self.heads = math.gcd(channels, max(1, channels // _HEAD))
        self.norm = group_norm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.output = scaled(nn.Linear(channels, channels), residual)

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.project(tokens).reshape(b, height * width, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, height * width, c)
        return x + self.output(mixed).transpose(1, 2).reshape(b, c, height, width)


class _Stage(nn.Module):
    """The blocks of one resolution on one side of the U, each followed by attention where asked for."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int, blocks: int, attention: bool, dropout: float, residual: float
    ) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * (blocks - 1)
        self.blocks = nn.ModuleList(_Residual(w, outputs, embedding, dropout, residual) for w in widths)
        self.attention = nn.ModuleList(_Attention(outputs, residual) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, embedding)
            if len(self.attention):
                x = self.attention[i](x)
        return x


class UNet(nn.Module):
    """net(x, time, label) for images: x (B, channels, H, W), time (B,), label (B,) or None, to (B, out_channels, H, W).

    Level i has `width · multipliers[i]` channels, `blocks` residual blocks on each side of the U, and half the size of
    level i − 1, rounded up, so any H and W work. `attention_at` names the levels with self-attention (default: the
    deepest alone). `dropout` is a probability; `out_channels` defaults to `channels`. The output is exactly zero at
    initialisation. Raises UserError for other shapes or unknown labels.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 2,
        attention_at: Sequence[int] | None = None,
        num_classes: int | None = None,
        dropout: float = 0.0,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        levels = len(multipliers)
        out_channels = channels if out_channels is None else out_channels
        attention_at = (levels - 1,) if attention_at is None else tuple(attention_at)
        require_positive(channels=channels, width=width, blocks=blocks, out_channels=out_channels, levels=levels)
        if any(not 0 <= level < levels for level in attention_at):
            raise UserError(f"attention_at={attention_at} names a level outside 0 … {levels - 1} of the U-Net.")
        self.settings: dict[str, Any] = {
            "channels": channels,
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "attention_at": list(attention_at),
            "num_classes": num_classes,
            "dropout": dropout,
            "out_channels": out_channels,
        }
        self.channels, self.num_classes = channels, num_classes
        embedding = 4 * width
        # Residual branches start small enough that the depth does not inflate the variance at the output.
        residual = 1 / math.sqrt(2 * blocks * levels)
        self.conditioning = Conditioning(embedding, num_classes)
        self.input = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        h = width
        for level, multiplier in enumerate(multipliers):
            w, attention = width * multiplier, level in attention_at
            self.down.append(_Stage(h, w, embedding, blocks, attention, dropout, residual))
            below = width * multipliers[level + 1] if level + 1 < levels else 0
            self.up.insert(0, _Stage(w + below, w, embedding, blocks, attention, dropout, residual))
            h = w
        self.norm = group_norm(width * multipliers[0])
        self.output = scaled(nn.Conv2d(width * multipliers[0], out_channels, 3, padding=1), 0.0)
        number_dropouts(self)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        check_input(x, time, 4, self.channels, "UNet")
        check_label(label, len(x), self.num_classes)
        embedding = self.conditioning(time, label)
        # Channels last is the layout in which convolutions on CPUs and tensor cores are fastest (about 10 % here).
        h = self.input(x).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.down):
            h = stage(functional.avg_pool2d(h, 2, ceil_mode=True) if level else h, embedding)
            skips.append(h)
        h = skips.pop()
        for level, stage in enumerate(self.up):
            if level:
                skip = skips.pop()
                h = torch.cat((functional.interpolate(h, skip.shape[-2:], mode="nearest"), skip), 1)
            h = stage(h, embedding)
        return self.output(functional.silu(self.norm(h)))
