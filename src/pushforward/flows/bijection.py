"""The Bijection: an invertible map with its log-determinant, the currency of every exact likelihood."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Bijection(ABC):
    """x ↦ (y, log |det ∂y/∂x|) per sample, and its inverse.

    log p(x) = log π(y) + log |det ∂y/∂x| for a base density π of y.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y (B, …), log |det ∂y/∂x| (B,)) of x (B, …)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x (B, …), log |det ∂x/∂y| (B,)) of y (B, …): the negative of the forward one at x."""


class Inverse(Bijection):
    """A bijection the other way round."""

    def __init__(self, bijection: Bijection) -> None:
        self.bijection = bijection

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.forward(y)
