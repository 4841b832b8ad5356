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
        directions = nn.functional.normalize(nn.init.normal_(torch.empty(count, features)), dim=1)
        lengths = torch.logspace(0, math.log10(highest), count)[:, None] if count else torch.ones(0, 1)
        self.register_buffer("frequencies", lengths * directions)
        self.features = features + 2 * count

    def forward(self, x: Tensor) -> Tensor:
        frequencies = self.get_buffer("frequencies")
        if not len(frequencies):
            return x
        angle = nn.functional.linear(x, frequencies)
        return torch.cat((x, angle.sin(), angle.cos()), 1)


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
        raise UserError(f"The {what} was given waves={waves}, highest={highest}; expected at least 0 and at least 1.")


class VectorGenerator(nn.Module):
    """g(z, label) for vectors: z (B, latent), label (B,) or None, to (B, *shape), shape = (D,).

    It sees z and `waves` sines and cosines of it, so that it can change quickly between modes of the data.
    Raises UserError for other shapes or labels.
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 3,
        num_classes: int | None = None,
        waves: int = 64,
        highest: float = 10.0,
    ) -> None:
        super().__init__()
        features = _features(shape, "A vector generator")
        require_positive(latent=latent, width=width, depth=depth)
        _check_waves("generator", waves, highest)
        self.settings: dict[str, Any] = {
            "latent": latent,
            "shape": list(shape),
            "width": width,
            "depth": depth,
            "num_classes": num_classes,
            "waves": waves,
            "highest": highest,
        }
        self.latent, self.shape, self.num_classes = latent, (features,), num_classes
        self.waves = Waves(latent, waves, highest)
        self.condition = ClassInput(self.waves.features, num_classes, width=width if num_classes else None)
        self.layers = _Layers(self.condition.features, width, depth)
        self.output = nn.Linear(width, features)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise UserError(f"The generator needs z of shape (batch, {self.latent}), but was given {tuple(z.shape)}.")
        check_class(label, len(z), self.num_classes, "The generator")
        return self.output(self.layers(self.condition(self.waves(z), label)))


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
