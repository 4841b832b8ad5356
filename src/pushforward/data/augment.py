"""Augmentations: pure functions of (values, draws). Off unless they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws

Augmentation = Callable[[Tensor, Draws], Tensor]
"""(B, C, H, W) and one set of draws per item -> the same shape."""


def horizontal_flip(values: Tensor, draws: Draws) -> Tensor:
    """Mirror each image left to right with probability one half."""
    _check_images(values, "A flip")
    mirrored = expand(draws.at("flip").uniform(), values) < 0.5
    return torch.where(torch.as_tensor(mirrored, device=values.device), values.flip(-1), values)


def shift(pixels: int) -> Augmentation:
    """Move each image by up to `pixels` in each direction, uniformly; edge pixels are repeated in the gap."""
    if pixels < 0:
        raise UserError(f"A shift of {pixels} pixels was given, and a number that is not negative was expected.")

    def moved(values: Tensor, draws: Draws) -> Tensor:
        _check_images(values, "A shift")
        height, width = values.shape[-2:]
        offsets = (draws.at("shift").integers(2 * pixels + 1, (2,)) - pixels).to(values.device)
        rows, columns = (
            (torch.arange(side, device=values.device) + offset[:, None]).clamp(0, side - 1)
            for side, offset in zip((height, width), offsets.unbind(1), strict=True)
        )
        item = torch.arange(len(values), device=values.device)
        # Indexing with (B, H, 1), (B, 1, W) around the channel slice puts the channels last.
        picked = values[item[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return picked.permute(0, 3, 1, 2).contiguous()

    return moved


def compose(*augmentations: Augmentation) -> Augmentation:
    """Each in turn, with draws of its own."""

    def all_of_them(values: Tensor, draws: Draws) -> Tensor:
        for i, augmentation in enumerate(augmentations):
            values = augmentation(values, draws.at("augmentation", i))
        return values

    return all_of_them


def _check_images(values: Tensor, what: str) -> None:
    if values.ndim != 4:
        raise UserError(f"{what} needs images, and items of shape {tuple(values.shape[1:])} were given: turn it off.")


def of_batches(augmentation: Augmentation) -> Callable[[Batch, Draws], Batch]:
    """The same augmentation for batches: labels stay as they are."""
    return lambda batch, draws: replace(batch, values=augmentation(batch.values, draws))
