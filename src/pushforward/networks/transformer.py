"""A transformer of sequences that knows the time (Peebles & Xie 2023's blocks, rotary positions of Su et al. 2021)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.attention import attention
from pushforward.networks.checks import check_label, require_positive
from pushforward.networks.embedding import Conditioning
from pushforward.networks.layers import dropout_layer, scaled
from pushforward.numerics.dropout import number_dropouts

_HEAD = 32
"""Channels of an attention head, where their number is not given."""


class Rotary(nn.Module):
    """Turns pairs of channels by angles proportional to the position, so that attention sees differences alone."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        speeds = 10_000.0 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * speeds
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (…, L, channels), the same shape out."""
        cos, sin = (self.get_buffer(name)[: x.shape[-2]].to(x.dtype) for name in ("cos", "sin"))
        one, other = x.chunk(2, -1)
        return torch.cat((one * cos - other * sin, one * sin + other * cos), -1)


class _Block(nn.Module):
    """h + gate · attention(film(norm h)), then h + gate · mlp(film(norm h)); the gates begin at 0."""

    def __init__(self, width: int, heads: int, embedding: int, dropout: float, rotary: Rotary) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        self.film = scaled(nn.Linear(embedding, 6 * width), 0.0)
        self.project, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = dropout_layer(dropout)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift, gate, scale2, shift2, gate2 = self.film(embedding)[:, None].chunk(6, -1)
        h = h + gate * self.dropout(self._attend(torch.addcmul(shift, _norm(h), 1 + scale)))
        inner = functional.gelu(self.inner(torch.addcmul(shift2, _norm(h), 1 + scale2)), approximate="tanh")
        return h + gate2 * self.dropout(self.outer(inner))

    def _attend(self, h: Tensor) -> Tensor:
        b, length, width = h.shape
        q, k, v = self.project(h).reshape(b, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = attention(self.rotary(q), self.rotary(k), v)
        return self.mix(mixed.transpose(1, 2).reshape(b, length, width))


class Transformer(nn.Module):
    """net(x, time, label) for sequences of states: x int64 (B, L), time (B,), label (B,) or None, to (B, L, symbols).

    Every site sees all others. `states` are those that x may hold, `symbols` those that are answered. Shorter sequences
    than `length` are taken as they are. The output is exactly zero at initialisation: every symbol alike. Raises
    UserError for other shapes, states or labels that are not known, and sequences that are too long.
    """

    def __init__(
        self,
        states: int,
        symbols: int,
        length: int,
        width: int = 128,
        depth: int = 4,
        heads: int | None = None,
        num_classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(states=states, symbols=symbols, length=length, width=width, depth=depth)
        heads = max(1, width // _HEAD) if heads is None else heads
        if width % (2 * heads):
            raise UserError(f"The width {width} must be a multiple of twice the number of heads, {heads}.")
        self.settings: dict[str, Any] = {
            "states": states,
            "symbols": symbols,
            "length": length,
            "width": width,
            "depth": depth,
            "heads": heads,
            "num_classes": num_classes,
            "dropout": dropout,
        }
        self.states, self.length, self.num_classes = states, length, num_classes
        self.embed = nn.Embedding(states, width)
        nn.init.normal_(self.embed.weight, std=0.02 * math.sqrt(width / 2))
        self.conditioning = Conditioning(width, num_classes)
        rotary = Rotary(width // heads, length)
        self.blocks = nn.ModuleList(_Block(width, heads, width, dropout, rotary) for _ in range(depth))
        self.film = scaled(nn.Linear(width, 2 * width), 0.0)
        self.output = scaled(nn.Linear(width, symbols), 0.0)
        number_dropouts(self)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        self._check(x)
        check_label(label, len(x), self.num_classes)
        embedding = self.conditioning(time, label)
        h = self.embed(x)
        for block in self.blocks:
            h = block(h, embedding)
        scale, shift = self.film(embedding)[:, None].chunk(2, -1)
        return self.output(torch.addcmul(shift, _norm(h), 1 + scale))

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.is_floating_point():
            raise UserError(
                f"The transformer takes whole numbers of shape (batch, length); got {x.dtype} {tuple(x.shape)}."
            )
        if x.shape[1] > self.length:
            raise UserError(
                f"A sequence of {x.shape[1]} symbols is longer than the {self.length} that the model was built for: "
                "cut it, or train a longer model."
            )


def _norm(h: Tensor) -> Tensor:
    return functional.layer_norm(h, h.shape[-1:])
