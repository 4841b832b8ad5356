"""Penalties on the slope of the discriminator, each per item and summed over the coordinates of an item.

The slopes of a batch are those of its sum, so the value of an item must depend on that item alone: a discriminator with
batch normalisation has none (`models.gan` refuses it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.broadcast import expand, sum_per_sample
from pushforward.numerics.random import Draws

Critic = Callable[[Tensor, Draws], Tensor]
"""(items (N, *shape), one set of draws each) ↦ the discriminator's values (N,), labels bound and items augmented."""


def squared_slopes(values: Tensor, items: Tensor, create_graph: bool) -> Tensor:
    """‖∇D(x_i)‖² of each item, over all its coordinates: (N,). `create_graph` is needed wherever it is trained on."""
    [gradient] = torch.autograd.grad(values, items, torch.ones_like(values), create_graph=create_graph)
    return sum_per_sample(full(gradient).square())


def full(x: Tensor) -> Tensor:
    """At least float32: what networks in bfloat16 give is squared and compared in full."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Shown:
    """What a discriminator is shown in one step: as many real as generated items, in one pass, with their values.

    Slopes are computed once, and only if a penalty asks. Gradients reach the discriminator, never what made the items.
    `progress` is the share of the training that is done, in [0, 1].
    """

    def __init__(
        self, critic: Critic, real: Tensor, fake: Tensor, draws: Draws, slopes: bool = True, progress: float = 0.0
    ) -> None:
        self.critic, self.draws, self.count, self.progress = critic, draws, len(real), progress
        self.real, self.fake = real.detach(), fake.detach()
        self.trains = torch.is_grad_enabled()
        self._both = torch.cat((self.real, self.fake)).requires_grad_(slopes)
        parts = draws.at("real"), draws.at("fake")
        joint = Draws(torch.cat([d.base for d in parts]), torch.cat([d.index for d in parts]))
        with torch.set_grad_enabled(self.trains or slopes):
            self._values = critic(self._both, joint)

    @property
    def real_values(self) -> Tensor:
        """D of the real items: (B,)."""
        return self._values[: self.count]

    @property
    def fake_values(self) -> Tensor:
        """D of the generated items: (B,)."""
        return self._values[self.count :]

    @cached_property
    def _slopes(self) -> Tensor:
        if not self._both.requires_grad:
            raise UserError("A penalty asks for slopes, and the items were shown without: show them with slopes=True.")
        return squared_slopes(self._values, self._both, self.trains)

    @property
    def real_slopes(self) -> Tensor:
        """‖∇D‖² at the real items: (B,)."""
        return self._slopes[: self.count]

    @property
    def fake_slopes(self) -> Tensor:
        """‖∇D‖² at the generated items: (B,)."""
        return self._slopes[self.count :]


@dataclass(frozen=True)
class Falling:
    """A weight that falls geometrically from `first` to `last` over a training.

    A strong penalty first finds all of the data; the discriminator becomes as sharp as their fine structure while it
    weakens (Huang et al. 2024 divide by ten). Raises UserError unless both are positive.
    """

    first: float
    last: float

    def __post_init__(self) -> None:
        for weight in (self.first, self.last):
            if not 0 < weight < float("inf"):
                raise UserError(f"A falling weight was given {weight}; expected positive numbers.")

    def __call__(self, progress: float) -> float:
        """first · (last/first)^progress."""
        return self.first * (self.last / self.first) ** progress


Weight = float | Falling


def _at(weight: Weight, progress: float) -> float:
    return weight(progress) if isinstance(weight, Falling) else weight


class Penalty(Protocol):
    """What is added to the discriminator's loss of each pair: (B,)."""

    def __call__(self, shown: Shown) -> Tensor:
        """The penalty of each pair of items."""
        ...


@dataclass(frozen=True)
class R1:
    """γ/2 ‖∇D(x)‖² at real items (Mescheder et al. 2018). Raises UserError unless 0 ≤ γ < ∞."""

    gamma: Weight

    def __post_init__(self) -> None:
        _check_weight("R1", self.gamma)

    def __call__(self, shown: Shown) -> Tensor:
        return 0.5 * _at(self.gamma, shown.progress) * shown.real_slopes


@dataclass(frozen=True)
class R2:
    """γ/2 ‖∇D(G(z))‖² at generated items. Raises UserError unless 0 ≤ γ < ∞."""

    gamma: Weight

    def __post_init__(self) -> None:
        _check_weight("R2", self.gamma)

    def __call__(self, shown: Shown) -> Tensor:
        return 0.5 * _at(self.gamma, shown.progress) * shown.fake_slopes


@dataclass(frozen=True)
class GradientPenalty:
    """λ(‖∇D(x̂)‖ − 1)² at x̂ = u x + (1 − u) G(z), one u ~ U(0, 1) per pair (Gulrajani et al. 2017, "WGAN-GP").

    The value it leads to exceeds the Wasserstein distance: by θ²/4λ for a shift by θ.
    Raises UserError unless 0 ≤ λ < ∞.
    """

    weight: Weight = 10.0
    target: float = 1.0

    def __post_init__(self) -> None:
        _check_weight("The gradient penalty", self.weight)

    def __call__(self, shown: Shown) -> Tensor:
        draws = shown.draws.at("between")
        share = expand(draws.uniform(), shown.real)
        between = (share * shown.real + (1 - share) * shown.fake).requires_grad_()
        with torch.enable_grad():
            values = shown.critic(between, draws)
        slopes = squared_slopes(values, between, shown.trains)
        # The root has no gradient at 0, where a discriminator that is constant begins.
        return _at(self.weight, shown.progress) * ((slopes + 1e-12).sqrt() - self.target).square()


def _check_weight(name: str, weight: Weight) -> None:
    if not isinstance(weight, Falling) and not 0 <= weight < float("inf"):
        raise UserError(f"{name} was given the weight {weight}; expected a number of at least 0.")
