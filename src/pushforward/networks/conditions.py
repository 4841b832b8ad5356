"""Conditions beside a class, as networks see them: vectors, token sequences, images; each may be absent, for guidance.

| condition | given as | enters by | absent |
|---|---|---|---|
| vector | (B, features) | the embedding of the time | a learned vector |
| tokens | (B, L, features) | cross-attention | a learned token that is always there, alone |
| image | (B, channels, *places) | more channels of the input | zeros, and a channel that says so |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.errors import UserError


class VectorCondition(nn.Module):
    """(B, features) to what is added to the embedding, (B, width)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.project = nn.Linear(features, width)
        self.absent = nn.Parameter(torch.zeros(width))

    def forward(self, value: Tensor | None, dropped: Tensor | None) -> Tensor:
        """`dropped` (B,) says for which items the condition is taken away."""
        if value is None:
            return self.absent[None]
        _check(value, (self.features,), "vector")
        found = self.project(value.to(self.absent.dtype))
        return found if dropped is None else torch.where(dropped[:, None], self.absent, found)


class TokenCondition(nn.Module):
    """(B, L, features) to tokens for cross-attention (B, 1 + L, width), and which of them are seen (B, 1, 1, 1 + L).

    A learned token comes first and is always seen, so that there is something to attend to where nothing is given; a
    network without it would take its own pixels for a text. Tokens carry their own positions: their order is not told.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.project = nn.Linear(features, width)
        self.first = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))

    def forward(
        self, value: Tensor | None, mask: Tensor | None, dropped: Tensor | None, batch: int
    ) -> tuple[Tensor, Tensor | None]:
        """`mask` (B, L) says which tokens are there, `dropped` (B,) which items go without all of them."""
        first = self.first.expand(batch, 1, -1)
        if value is None:
            return first, None
        if value.ndim != 3 or len(value) != batch or value.shape[2] != self.features:
            raise UserError(
                f"The condition tokens was given the shape {tuple(value.shape)}; expected ({batch}, length, "
                f"{self.features})."
            )
        tokens = torch.cat((first, self.project(value.to(first.dtype))), 1)
        if mask is None and dropped is None:
            return tokens, None
        seen = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if mask is not None:
            seen[:, 1:] &= mask.bool()
        if dropped is not None:
            seen[:, 1:] &= ~dropped[:, None]
        return tokens, seen[:, None, None]


class ImageCondition(nn.Module):
    """(B, channels, *places) as channels beside those of x, and one more that is 1 where there is an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, value: Tensor | None, dropped: Tensor | None) -> Tensor:
        """x (B, C, *places) with its condition, (B, C + channels + 1, *places)."""
        places = x.shape[2:]
        if value is None:
            return torch.cat((x, x.new_zeros(len(x), self.channels + 1, *places)), 1)
        _check(value, (self.channels, *places), "image")
        there = x.new_ones(len(x), 1, *places)
        if dropped is not None:
            keep = (~dropped).to(x.dtype).reshape(-1, 1, *(1,) * len(places))
            value, there = value * keep, there * keep
        return torch.cat((x, value.to(x.dtype), there), 1)


def _check(value: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(value.shape[1:]) != shape:
        raise UserError(
            f"The condition {name} was given the shape {tuple(value.shape)}; expected (batch, "
            f"{', '.join(map(str, shape))})."
        )


def drop_of(dropped: Tensor | None, which: int) -> Tensor | None:
    """The column (B,) of a condition in `dropped` (B, 3), whose columns are vector, tokens, image."""
    return None if dropped is None else dropped[:, which]


VECTOR, TOKENS, IMAGE = range(3)
NAMES = ("vector", "tokens", "image")
"""In the order of the columns of `dropped`."""
