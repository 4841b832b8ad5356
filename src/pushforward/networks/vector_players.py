"""Generator and discriminator of vectors: perceptrons without normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.networks.checks import require_positive
from pushforward.networks.labels import check_class
from pushforward.networks.players import ClassInput, Projection, activation, initialised


class Waves(nn.Module):
    """x ↦ (x, sin Fx, cos Fx): (B, features) -> (B, features + 2·count).

    The rows of F point in random directions, their lengths are geometric from 1 to `highest` radians per unit. A
    perceptron alone sees fine structure late (Tancik et al. 2020). F is drawn once and stored.
    """

    def __init__(self, features: int, count: int, highest: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", _directions(features, count, highest))
        self.features = features + 2 * count

    def forward(self, x: Tensor) -> Tensor:
        frequencies = self.get_buffer("frequencies")
        if not len(frequencies):
            return x
        angle = nn.functional.linear(x, frequencies)
        return torch.cat((x, angle.sin(), angle.cos()), 1)


class Cuts(nn.Module):
    """z ↦ (z, sign sin(Fz + b)): (B, features) -> (B, features + count), stripes of −1 and 1 across the space of z.

    No continuous map makes separate modes of a connected law; with these it need not be continuous (the trouble is
    described by Tanielian et al. 2020). The rows of F point in random directions, their lengths are geometric from 1 to
    `highest`. F and b are drawn once and stored; no gradient reaches z through the signs.
    """

    def __init__(self, features: int, count: int, highest: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", _directions(features, count, highest))
        self.register_buffer("phases", nn.init.uniform_(torch.empty(count), 0, 2 * math.pi))
        self.features = features + count

    def forward(self, z: Tensor) -> Tensor:
        if not len(self.get_buffer("phases")):
            return z
        angle = nn.functional.linear(z, self.get_buffer("frequencies"), self.get_buffer("phases"))
        return torch.cat((z, angle.sin().sign()), 1)


def _directions(features: int, count: int, highest: float) -> Tensor:
    directions = nn.functional.normalize(nn.init.normal_(torch.empty(count, features)), dim=1)
    return directions * (torch.logspace(0, math.log10(highest), count)[:, None] if count else 1.0)


class _Layers(nn.Module):
    """`depth` linear layers with the leaky rectifier after each: (B, features) -> (B, width)."""

    def __init__(self, features: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [features, *[width] * depth]
        self.layers = nn.ModuleList(initialised(nn.Linear(a, b)) for a, b in pairwise(widths))

    def forward(self, h: Tensor) -> Tensor:
        for layer in self.layers:
            h = activation(layer(h))
        return h


def _features(shape: Sequence[int], what: str) -> int:
    if len(shape) != 1:
        raise UserError(f"{what} is for vectors of a shape (features,), but was given {tuple(shape)}.")
    require_positive(features=shape[0])
    return shape[0]


def _check_waves(what: str, waves: int, highest: float) -> None:
    if waves < 0 or not 1 <= highest < math.inf:
        raise UserError(
            f"The {what} was given {waves} waves up to {highest}; expected at least 0 of them, up to at least 1."
        )


class VectorGenerator(nn.Module):
    """g(z, label) for vectors: z (B, latent), label (B,) or None, to (B, *shape), shape = (D,).

    It sees z and `cuts` signs of waves of it, the shortest of about 2π/`highest` units, so that it can jump between
    modes of the data. Raises UserError for other shapes or labels.
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 3,
        num_classes: int | None = None,
        cuts: int = 16,
        highest: float = 4.0,
    ) -> None:
        super().__init__()
        features = _features(shape, "A vector generator")
        require_positive(latent=latent, width=width, depth=depth)
        _check_waves("generator", cuts, highest)
        self.settings: dict[str, Any] = {
            "latent": latent,
            "shape": list(shape),
            "width": width,
            "depth": depth,
            "num_classes": num_classes,
            "cuts": cuts,
            "highest": highest,
        }
        self.latent, self.shape, self.num_classes = latent, (features,), num_classes
        self.cuts = Cuts(latent, cuts, highest)
        self.condition = ClassInput(self.cuts.features, num_classes, width=width if num_classes else None)
        self.layers = _Layers(self.condition.features, width, depth)
        self.output = nn.Linear(width, features)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise UserError(f"The generator needs z of shape (batch, {self.latent}), but was given {tuple(z.shape)}.")
        check_class(label, len(z), self.num_classes, "The generator")
        return self.output(self.layers(self.condition(self.cuts(z), label)))


class VectorDiscriminator(nn.Module):
    """d(x, label) for vectors: x (B, *shape), label (B,) or None, to one value each, (B,).

    It sees x and `waves` sines and cosines of it, the shortest of about 2π/`highest` units; labels enter by projection.
    Raises UserError for other shapes or labels.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 3,
        num_classes: int | None = None,
        waves: int = 64,
        highest: float = 20.0,
    ) -> None:
        super().__init__()
        features = _features(shape, "A vector discriminator")
        require_positive(width=width, depth=depth)
        _check_waves("discriminator", waves, highest)
        self.settings: dict[str, Any] = {
            "shape": list(shape),
            "width": width,
            "depth": depth,
            "num_classes": num_classes,
            "waves": waves,
            "highest": highest,
        }
        self.shape, self.num_classes = (features,), num_classes
        self.waves = Waves(features, waves, highest)
        self.layers = _Layers(self.waves.features, width, depth)
        self.value = Projection(width, num_classes)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        if x.shape[1:] != self.shape:
            raise UserError(
                f"The discriminator was built for items of {self.shape}, but was given {tuple(x.shape[1:])}."
            )
        check_class(label, len(x), self.num_classes, "The discriminator")
        return self.value(self.layers(self.waves(x)), label)
