"""Likelihoods that are no noise on numbers: a class, several likelihoods at once, any energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood, Simulated
from pushforward.inverse.operators.units import Affine, Units
from pushforward.numerics.broadcast import entries_of
from pushforward.numerics.random import Draws

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Categorical(Likelihood):
    """p(label | x) of a classifier that gives logits (B, K); `label` is int64 (B,), or (1,) for all items."""

    classifier: Function
    label: Tensor

    def __post_init__(self) -> None:
        if self.label.ndim != 1 or self.label.is_floating_point() or bool((self.label < 0).any()):
            raise UserError(
                f"labels are integers of at least 0, (B,) or (1,); got {self.label.dtype} of shape "
                f"{tuple(self.label.shape)}"
            )

    @property
    def items(self) -> int | None:
        return len(self.label) if len(self.label) > 1 else None

    def log_prob(self, x: Tensor) -> Tensor:
        logits = self.classifier(x)
        if logits.ndim != 2 or len(logits) != len(x) or int(self.label.max()) >= logits.shape[1]:
            raise UserError(
                f"a classifier gives logits (B, K) for labels below K; got {tuple(logits.shape)} for {len(x)} items "
                f"and labels up to {int(self.label.max())}"
            )
        if len(self.label) not in (1, len(x)):
            raise UserError(f"there are {len(self.label)} labels for {len(x)} items; one per item, or one for all")
        label = self.label.to(logits.device).expand(len(x))
        return logits.log_softmax(1).gather(1, label[:, None])[:, 0]

    def simulate(self, x: Tensor, draws: Draws) -> Tensor:
        """Labels that the classifier would give: int64 (B,)."""
        below = self.classifier(x).detach().double().softmax(1).cumsum(1)
        u = draws.at("label").uniform((1,), torch.float64).to(below.device)
        return (below < u * below[:, -1:]).sum(1)

    def in_units(self, units: Units) -> Categorical:
        return Categorical(_after(self.classifier, units), self.label)

    def select(self, index: Tensor) -> Categorical:
        return Categorical(self.classifier, entries_of(self.label, index, "labels"))


@dataclass(frozen=True, eq=False)
class Product(Likelihood):
    """Independent measurements of the same x: log-likelihoods add up."""

    parts: tuple[Likelihood, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError("a product of likelihoods needs at least one")

    @property
    def items(self) -> int | None:
        return next((part.items for part in self.parts if part.items is not None), None)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.stack([part.log_prob(x) for part in self.parts]).sum(0)

    def gradient(self, x: Tensor) -> Tensor:
        return torch.stack([part.gradient(x) for part in self.parts]).sum(0)

    def simulate(self, x: Tensor, draws: Draws) -> Simulated:
        """One measurement for each part."""
        return tuple(part.simulate(x, draws.at("part", i)) for i, part in enumerate(self.parts))

    def in_units(self, units: Units) -> Product:
        return Product(tuple(part.in_units(units) for part in self.parts))

    def select(self, index: Tensor) -> Product:
        return Product(tuple(part.select(index) for part in self.parts))


@dataclass(frozen=True, eq=False)
class Energy(Likelihood):
    """log p = −E(x) up to a constant, E any function of a batch that gives (B,), differentiable for gradients."""

    energy: Function

    def log_prob(self, x: Tensor) -> Tensor:
        energy = self.energy(x)
        if energy.shape != (len(x),):
            raise UserError(f"an energy gives one number per item, ({len(x)},); got {tuple(energy.shape)}")
        return -energy

    def simulate(self, x: Tensor, draws: Draws) -> Simulated:
        raise UserError("an energy has no measurements to simulate: use a likelihood such as Gaussian")

    def in_units(self, units: Units) -> Energy:
        return Energy(_after(self.energy, units))

    def select(self, index: Tensor) -> Energy:
        return self


def _after(function: Function, units: Units) -> Function:
    affine = Affine.of(units)
    return lambda x: function(affine(x))
