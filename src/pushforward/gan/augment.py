"""Differentiable augmentation of what the discriminator sees, real and generated alike (Zhao et al. 2020).

With few real items a discriminator learns them by heart. If it sees every item, real or not, through a random change
that can be undone in distribution, it learns less and the generator still learns the data themselves, not the changed
data: gradients pass through the change. Every change is a pure function of the items and their counted draws, for
images (B, C, H, W) in model units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws


class Augmentation(Protocol):
    """(items (N, C, H, W), one set of draws each) ↦ items of the same shape, differentiable in them."""

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The items, each changed in its own way."""
        ...


def nothing(x: Tensor, draws: Draws) -> Tensor:
    """No change."""
    return x


@dataclass(frozen=True)
class Brightness:
    """x + b with b ~ U(−strength, strength) per item."""

    strength: float = 0.5

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        return x + expand(self.strength * (2 * draws.at("brightness").uniform() - 1), x)


@dataclass(frozen=True)
class Contrast:
    """The deviation of each item from its own mean, times c ~ U(1 − strength, 1 + strength)."""

    strength: float = 0.5

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        _check_images(x)
        centre = x.mean((1, 2, 3), keepdim=True)
        return centre + (x - centre) * expand(1 + self.strength * (2 * draws.at("contrast").uniform() - 1), x)


@dataclass(frozen=True)
class Saturation:
    """The deviation of each pixel's channels from their mean, times s ~ U(1 − strength, 1 + strength)."""

    strength: float = 1.0

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        _check_images(x)
        grey = x.mean(1, keepdim=True)
        return grey + (x - grey) * expand(1 + self.strength * (2 * draws.at("saturation").uniform() - 1), x)


@dataclass(frozen=True)
class Translation:
    """Each item moved by up to a `share` of its sides, whole pixels; zeros come in: mid-grey in model units."""

    share: float = 0.125

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        _check_images(x)
        reach = [max(1, round(self.share * side)) for side in x.shape[-2:]]
        padded = functional.pad(x, (reach[1], reach[1], reach[0], reach[0]))
        u = draws.at("translation").uniform((2,))
        rows, columns = (
            (u[:, axis] * (2 * r + 1)).long()[:, None] + torch.arange(side, device=x.device)
            for axis, (r, side) in enumerate(zip(reach, x.shape[-2:], strict=True))
        )
        item = torch.arange(len(x), device=x.device)[:, None, None]
        # Indexing with (N, H, 1) and (N, 1, W) around the slice of channels puts the channels last.
        return padded[item, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Cutout:
    """A rectangle of a `share` of each side set to zero, its centre anywhere in the item."""

    share: float = 0.5

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        _check_images(x)
        u = draws.at("cutout").uniform((2,))
        inside = []
        for axis, side in enumerate(x.shape[-2:]):
            centre = u[:, axis, None] * side
            distance = (torch.arange(side, device=x.device) + 0.5 - centre).abs()
            inside.append(distance < 0.5 * self.share * side)
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return x.masked_fill(hole, 0.0)


@dataclass(frozen=True)
class Sometimes:
    """A change that happens to each item with probability p; p < 1 keeps the changed law from hiding the data's.

    Raises UserError unless 0 ≤ p ≤ 1.
    """

    change: Augmentation
    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise UserError(f"A change was given the probability {self.p}; expected a number in [0, 1].")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        chosen = torch.as_tensor(expand(draws.at("sometimes").uniform(), x), device=x.device) < self.p
        return torch.where(chosen, self.change(x, draws), x)


def in_turn(changes: Sequence[Augmentation]) -> Augmentation:
    """All changes, one after the other, each with draws of its own."""

    def all_of_them(x: Tensor, draws: Draws) -> Tensor:
        for i, change in enumerate(changes):
            x = change(x, draws.at("change", i))
        return x

    return all_of_them


def small_data(shape: Sequence[int], p: float = 0.5) -> Augmentation:
    """What suits a few thousand images of a shape (C, H, W): light, colour, translation and cutout, each with
    probability p; nothing for vectors, of which no change is known to keep the law apart.
    """
    if len(shape) != 3:
        return nothing
    colour: tuple[Augmentation, ...] = (Saturation(),) if shape[0] > 1 else ()
    changes: tuple[Augmentation, ...] = (Brightness(), Contrast(), *colour, Translation(), Cutout())
    return in_turn([Sometimes(change, p) for change in changes])


def _check_images(x: Tensor) -> None:
    if x.ndim != 4:
        raise UserError(f"This augmentation is for images, and items of shape {tuple(x.shape[1:])} were given.")
