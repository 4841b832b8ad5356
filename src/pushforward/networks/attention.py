"""Attention between the places of a map, and from places to tokens, by torch's fused kernels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.networks.layers import group_norm, scaled

HEAD = 32
"""Channels of a head, about."""


def heads_of(channels: int) -> int:
    """Heads of about 32 channels that divide them."""
    return math.gcd(channels, max(1, channels // HEAD))


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ/√d) v over (…, N, d), in float32 under a CPU's mixed precision: its bfloat16 gradient is slow."""
    if q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ/√d) v by heads: q (B, N, C), k and v (B, M, C), mask (B, 1, 1, M) of what is seen, to (B, N, C)."""
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    return attention(q, k, v, mask).transpose(1, 2).flatten(2)


class PlaceAttention(nn.Module):
    """x plus the self-attention of its places, x (B, C, *places)."""

    def __init__(self, channels: int, residual: float) -> None:
        super().__init__()
        self.heads = heads_of(channels)
        self.norm = group_norm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.output = scaled(nn.Linear(channels, channels), residual)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.project(tokens).chunk(3, 2)
        mixed = attend(q, k, v, self.heads)
        return x + self.output(mixed).transpose(1, 2).reshape(x.shape)


class CrossAttention(nn.Module):
    """The attention from rows (B, N, C) to tokens (B, M, context), zero at initialisation: (B, N, C)."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.heads = heads_of(channels)
        self.query = nn.Linear(channels, channels)
        self.project = nn.Linear(context, 2 * channels)
        self.output = scaled(nn.Linear(channels, channels), 0.0)

    def forward(self, rows: Tensor, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        keys, values = self.project(tokens).chunk(2, 2)
        return self.output(attend(self.query(rows), keys, values, self.heads, seen))


class PlaceCrossAttention(nn.Module):
    """x plus the attention from its places to tokens, x (B, C, *places)."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.cross = CrossAttention(channels, context)

    def forward(self, x: Tensor, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        rows = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.cross(rows, tokens, seen).transpose(1, 2).reshape(x.shape)
