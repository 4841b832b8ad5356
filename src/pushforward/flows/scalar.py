"""Increasing maps of one number, with parameters from outside: what couplings and autoregressive layers apply.

Parameters have one more dimension than what they act on, in front: (count, …). With the samples last, an operation on
one parameter of all elements is an operation on one piece of memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError


class ScalarMap(Protocol):
    """x (…) ↦ (y (…), log dy/dx (…)) under parameters (count, …), and its inverse; all zeros are the identity.

    `pull` is the inverse's value without its slope.
    """

    @property
    def count(self) -> int: ...

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]: ...

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]: ...

    def pull(self, y: Tensor, parameters: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Shift:
    """y = x + t (NICE, Dinh et al. 2015)."""

    count: int = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return x + parameters[0], torch.zeros_like(x)

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return y - parameters[0], torch.zeros_like(y)

    def pull(self, y: Tensor, parameters: Tensor) -> Tensor:
        return y - parameters[0]


@dataclass(frozen=True)
class Affine:
    """y = x eˢ + t with |s| < bound, s = bound · tanh(raw / bound)."""

    bound: float = 3.0
    count: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf:
            raise UserError(f"The bound of a log-scale must be positive and finite; got {self.bound}.")

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = parameters.unbind(0)
        log_scale = self._log_scale(raw, self.bound)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = parameters.unbind(0)
        log_scale = self._log_scale(raw, -self.bound)
        return (y - shift) * log_scale.exp(), log_scale

    def pull(self, y: Tensor, parameters: Tensor) -> Tensor:
        return self.inverse(y, parameters)[0]

    def _log_scale(self, raw: Tensor, signed: float) -> Tensor:
        """s, or −s for a negative bound."""
        return torch.tanh(raw / signed) * self.bound
