"""How much a jump process has moved by a time: c(t) = ∫₀ᵗ β, and the speed β(t) = c′(t), float64."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError


class Amount(ABC):
    """A rising c(t) with c(0) = 0."""

    @abstractmethod
    def total(self, t: Tensor) -> Tensor:
        """c(t) for times t: float64 of the shape of t."""

    @abstractmethod
    def speed(self, t: Tensor) -> Tensor:
        """β(t) = c′(t)."""


@dataclass(frozen=True)
class Constant(Amount):
    """β constant: c = rate · t (Campbell et al. 2022, their piano model)."""

    rate: float = 4.0

    def __post_init__(self) -> None:
        _positive("rate", self.rate)

    def total(self, t: Tensor) -> Tensor:
        return self.rate * t

    def speed(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.rate)


@dataclass(frozen=True)
class Geometric(Amount):
    """c = scale (base^t − 1), β rising geometrically.

    Campbell et al. 2022 take scale 3 and base 100 for pictures; their birth–death process has scale ½σ_min² and base
    (σ_max/σ_min)².
    """

    scale: float = 3.0
    base: float = 100.0

    def __post_init__(self) -> None:
        _positive("scale", self.scale)
        if not self.base > 1:
            raise UserError(f"the base of a geometric amount must be above 1; got {self.base}")

    def total(self, t: Tensor) -> Tensor:
        return self.scale * torch.expm1(t * math.log(self.base))

    def speed(self, t: Tensor) -> Tensor:
        return self.scale * math.log(self.base) * torch.exp(t * math.log(self.base))


@dataclass(frozen=True)
class LogLinear(Amount):
    """c = −log(1 − (1 − ε)t): what is retained, e^{−c}, falls linearly to ε (Sahoo et al. 2024, ε = 1e-3).

    With ε = 0 nothing is retained at t = 1, so that a chain started from its end law is started right.
    """

    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < 1:
            raise UserError(f"the share retained at t = 1 must lie in [0, 1); got {self.epsilon}")

    def total(self, t: Tensor) -> Tensor:
        return -torch.log1p(-(1 - self.epsilon) * t)

    def speed(self, t: Tensor) -> Tensor:
        return (1 - self.epsilon) / (1 - (1 - self.epsilon) * t)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} must be a positive number; got {value}")
