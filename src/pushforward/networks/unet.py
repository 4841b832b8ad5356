"""A small U-Net for images and sequences (Ronneberger et al. 2015; conditioned as by Dhariwal & Nichol 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.attention import PlaceAttention, PlaceCrossAttention
from pushforward.networks.checkpointing import recomputed
from pushforward.networks.checks import check_input, check_label, require_positive
from pushforward.networks.conditions import (
    IMAGE,
    TOKENS,
    VECTOR,
    ImageCondition,
    TokenCondition,
    VectorCondition,
    drop_of,
)
from pushforward.networks.embedding import Conditioning
from pushforward.networks.layers import dropout_layer, group_norm, scaled
from pushforward.numerics.dropout import number_dropouts

_CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
_POOLS: dict[int, Callable[..., Tensor]] = {1: functional.avg_pool1d, 2: functional.avg_pool2d}


class _Residual(nn.Module):
    """skip(x) + conv(dropout(silu(film(norm(conv(silu(norm x)))))))."""

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float, residual: float, dims: int) -> None:
        super().__init__()
        conv = _CONVOLUTIONS[dims]
        self.norm_in = group_norm(inputs)
        self.conv_in = conv(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm_out = group_norm(outputs, affine=False)
        self.dropout = dropout_layer(dropout)
        self.conv_out = scaled(conv(outputs, outputs, 3, padding=1), residual)
        self.skip = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(functional.silu(self.norm_in(x)))
        film = self.film(embedding)
        scale, shift = film.reshape(*film.shape, *(1,) * (x.ndim - 2)).chunk(2, 1)
        h = torch.addcmul(shift, self.norm_out(h), 1 + scale)
        return self.skip(x) + self.conv_out(self.dropout(functional.silu(h)))


class _Stage(nn.Module):
    """The blocks of one resolution on one side of the U, each followed by attention where asked for."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        blocks: int,
        attention: bool,
        dropout: float,
        residual: float,
        dims: int,
        context: int | None,
    ) -> None:
        super().__init__()
        widths, several = [inputs] + [outputs] * (blocks - 1), range(blocks if attention else 0)
        self.blocks = nn.ModuleList(_Residual(w, outputs, embedding, dropout, residual, dims) for w in widths)
        self.attention = nn.ModuleList(PlaceAttention(outputs, residual) for _ in several)
        if context is not None:
            self.cross = nn.ModuleList(PlaceCrossAttention(outputs, context) for _ in several)
        self.attended, self.told = attention, attention and context is not None

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, embedding)
            if self.attended:
                x = self.attention[i](x)
            if self.told:
                x = self.cross[i](x, tokens, seen)
        return x


class UNet(nn.Module):
    """net(x, time, label, …) for images (B, channels, H, W) or, with dims=1, sequences (B, channels, L); to
    `out_channels` of the same places.

    Level i has `width · multipliers[i]` channels, `blocks` residual blocks on each side of the U, and half the size of
    level i − 1, rounded up, so any sizes work. `attention_at` names the levels with self-attention (default: the
    deepest alone), where there is cross-attention to tokens too. `dropout` is a probability; `out_channels` defaults to
    `channels`. The output is exactly zero at initialisation. Raises UserError for other shapes, unknown labels and
    conditions of another shape.

    Args:
        vector, tokens, image: the features of these conditions, 0 for none; see `networks.conditions`.
        recompute: keep fewer activations; see `networks.checkpointing`.
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
        dims: int = 2,
        vector: int = 0,
        tokens: int = 0,
        image: int = 0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        levels = len(multipliers)
        out_channels = channels if out_channels is None else out_channels
        attention_at = (levels - 1,) if attention_at is None else tuple(attention_at)
        require_positive(channels=channels, width=width, blocks=blocks, out_channels=out_channels, levels=levels)
        if any(not 0 <= level < levels for level in attention_at):
            raise UserError(f"attention_at={attention_at} names a level outside 0 … {levels - 1} of the U-Net.")
        if dims not in _CONVOLUTIONS:
            raise UserError(f"A U-Net is of sequences (dims=1) or images (dims=2); got dims={dims}.")
        if tokens and not attention_at:
            raise UserError("A U-Net is told tokens where it has attention: name a level in attention_at.")
        self.settings: dict[str, Any] = {
            "channels": channels,
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "attention_at": list(attention_at),
            "num_classes": num_classes,
            "dropout": dropout,
            "out_channels": out_channels,
            "dims": dims,
            "vector": vector,
            "tokens": tokens,
            "image": image,
            "recompute": recompute,
        }
        self.channels, self.num_classes, self.dims, self.recompute = channels, num_classes, dims, recompute
        embedding = 4 * width
        # Residual branches start small enough that the depth does not inflate the variance at the output.
        residual = 1 / math.sqrt(2 * blocks * levels)
        conv = _CONVOLUTIONS[dims]
        self.conditioning = Conditioning(embedding, num_classes)
        self.vector = VectorCondition(vector, embedding) if vector else None
        self.tokens = TokenCondition(tokens, embedding) if tokens else None
        self.image = ImageCondition(image) if image else None
        self.input = conv(channels + (image + 1 if image else 0), width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        context, h = embedding if tokens else None, width
        for level, multiplier in enumerate(multipliers):
            w, attention = width * multiplier, level in attention_at
            below = width * multipliers[level + 1] if level + 1 < levels else 0
            down, up = (
                _Stage(inputs, w, embedding, blocks, attention, dropout, residual, dims, context)
                for inputs in (h, w + below)
            )
            self.down.append(down)
            self.up.insert(0, up)
            h = w
        self.norm = group_norm(width * multipliers[0])
        self.output = scaled(conv(width * multipliers[0], out_channels, 3, padding=1), 0.0)
        number_dropouts(self)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        tokens: Tensor | None = None,
        image: Tensor | None = None,
        tokens_mask: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> Tensor:
        check_input(x, time, 2 + self.dims, self.channels, "UNet")
        check_label(label, len(x), self.num_classes)
        extra = None if self.vector is None else self.vector(vector, drop_of(dropped, VECTOR))
        embedding = self.conditioning(time, label, extra)
        context: tuple[Tensor | None, Tensor | None] = None, None
        if self.tokens is not None:
            context = self.tokens(tokens, tokens_mask, drop_of(dropped, TOKENS), len(x))
        h = self.input(x if self.image is None else self.image(x, image, drop_of(dropped, IMAGE)))
        if self.dims == 2:
            # Channels last is the layout in which convolutions on CPUs and tensor cores are fastest (about 10 % here).
            h = h.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.down):
            h = _POOLS[self.dims](h, 2, ceil_mode=True) if level else h
            h = recomputed(self.recompute, stage, h, embedding, *context)
            skips.append(h)
        h = skips.pop()
        for level, stage in enumerate(self.up):
            if level:
                skip = skips.pop()
                h = torch.cat((functional.interpolate(h, skip.shape[2:], mode="nearest"), skip), 1)
            h = recomputed(self.recompute, stage, h, embedding, *context)
        return self.output(functional.silu(self.norm(h)))
