"""A transformer of patches that knows time and conditions: DiT (Peebles & Xie 2023), of pictures and of sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.networks.attention import CrossAttention, attend, heads_of
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
from pushforward.networks.layers import dropout_layer, scaled
from pushforward.networks.patching import joined, patches_of, positions
from pushforward.numerics.dropout import number_dropouts


class DiTBlock(nn.Module):
    """h + gate·attention(film(norm h)), h + cross(norm h, tokens), h + gate·mlp(film(norm h)); the identity at first.

    adaLN-zero: scale, shift and gate of both branches are one linear layer of the embedding, zero at initialisation.
    """

    def __init__(self, width: int, embedding: int, dropout: float, context: int | None) -> None:
        super().__init__()
        self.heads = heads_of(width)
        self.film = scaled(nn.Linear(embedding, 6 * width), 0.0)
        self.project, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross = None if context is None else CrossAttention(width, context)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = dropout_layer(dropout)

    def forward(self, h: Tensor, embedding: Tensor, tokens: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        scale, shift, gate, scale2, shift2, gate2 = self.film(embedding)[:, None].chunk(6, -1)
        q, k, v = self.project(torch.addcmul(shift, norm(h), 1 + scale)).chunk(3, 2)
        h = h + gate * self.dropout(self.mix(attend(q, k, v, self.heads)))
        if self.cross is not None and tokens is not None:
            h = h + self.cross(norm(h), tokens, seen)
        inner = functional.gelu(self.inner(torch.addcmul(shift2, norm(h), 1 + scale2)), approximate="tanh")
        return h + gate2 * self.dropout(self.outer(inner))


class DiT(nn.Module):
    """net(x, time, label, …) for pictures (B, channels, H, W) or, with dims=1, sequences (B, channels, L).

    Any sizes that are multiples of `patch` work: positions are sines of the coordinates. The output is exactly zero at
    initialisation. Raises UserError for other shapes, unknown labels and conditions of another shape.

    Args:
        vector, tokens, image: the features of these conditions, 0 for none; see `networks.conditions`.
        recompute: keep fewer activations; see `networks.checkpointing`.
    """

    def __init__(
        self,
        channels: int,
        patch: int = 2,
        width: int = 256,
        depth: int = 6,
        num_classes: int | None = None,
        dropout: float = 0.0,
        dims: int = 2,
        vector: int = 0,
        tokens: int = 0,
        image: int = 0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        require_positive(channels=channels, patch=patch, width=width, depth=depth, dims=dims)
        if width % (2 * dims):
            raise UserError(f"The width {width} must be a multiple of {2 * dims}: sine and cosine of each coordinate.")
        self.settings: dict[str, Any] = {
            "channels": channels,
            "patch": patch,
            "width": width,
            "depth": depth,
            "num_classes": num_classes,
            "dropout": dropout,
            "dims": dims,
            "vector": vector,
            "tokens": tokens,
            "image": image,
            "recompute": recompute,
        }
        self.channels, self.patch, self.dims, self.width = channels, patch, dims, width
        self.num_classes, self.recompute = num_classes, recompute
        self.conditioning = Conditioning(width, num_classes)
        self.vector = VectorCondition(vector, width) if vector else None
        self.tokens = TokenCondition(tokens, width) if tokens else None
        self.image = ImageCondition(image) if image else None
        entering = channels + (image + 1 if image else 0)
        self.input = nn.Linear(entering * patch**dims, width)
        context = width if tokens else None
        self.blocks = nn.ModuleList(DiTBlock(width, width, dropout, context) for _ in range(depth))
        self.film = scaled(nn.Linear(width, 2 * width), 0.0)
        self.output = scaled(nn.Linear(width, channels * patch**dims), 0.0)
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
        check_input(x, time, 2 + self.dims, self.channels, "DiT")
        check_label(label, len(x), self.num_classes)
        grid = [side // self.patch for side in x.shape[2:]]
        extra = None if self.vector is None else self.vector(vector, drop_of(dropped, VECTOR))
        embedding = self.conditioning(time, label, extra)
        context: tuple[Tensor | None, Tensor | None] = None, None
        if self.tokens is not None:
            context = self.tokens(tokens, tokens_mask, drop_of(dropped, TOKENS), len(x))
        whole = x if self.image is None else self.image(x, image, drop_of(dropped, IMAGE))
        h = self.input(patches_of(whole, self.patch))
        h = h + positions(grid, self.width, h.device, h.dtype)
        for block in self.blocks:
            h = recomputed(self.recompute, block, h, embedding, *context)
        scale, shift = self.film(embedding)[:, None].chunk(2, -1)
        return joined(self.output(torch.addcmul(shift, norm(h), 1 + scale)), self.patch, grid)


def norm(h: Tensor) -> Tensor:
    """To mean 0 and deviation 1 over channels, without parameters."""
    return functional.layer_norm(h, h.shape[-1:])
