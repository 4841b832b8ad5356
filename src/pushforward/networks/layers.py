"""Pieces that several networks share."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from pushforward.numerics.dropout import Dropout

M = TypeVar("M", bound=nn.Conv1d | nn.Conv2d | nn.Linear)


def dropout_layer(p: float) -> nn.Module:
    """Dropout with counted randomness, or nothing at all where p = 0."""
    return Dropout(p) if p else nn.Identity()


def group_norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm with at most 32 groups of at least four channels each."""
    groups = max((g for g in range(1, 33) if channels % g == 0 and channels // g >= 4), default=1)
    return nn.GroupNorm(groups, channels, affine=affine)


def scaled(layer: M, factor: float) -> M:
    """The layer with its initial weight multiplied by `factor` and its bias at zero, in place."""
    layer.weight.data.mul_(factor)
    if layer.bias is not None:
        layer.bias.data.zero_()
    return layer
