"""The Bijection: an invertible map with its log-determinant, the currency of every exact likelihood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from pushforward.numerics.random import Draws


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

    def pull(self, y: Tensor) -> Tensor:
        """x of y (B, …) alone: `inverse` where nobody asks for the log-determinant, as in sampling."""
        return self.inverse(y)[0]

    def given(self, context: Tensor | None) -> Bijection:
        """The bijection under conditions (B, c); one that takes none is itself."""
        return self

    def drawn(self, draws: Draws) -> Bijection:
        """The bijection with its log-determinant estimated from these draws; one that needs no estimate is itself."""
        return self


class Layer(nn.Module, Bijection):
    """A bijection with parameters, under conditions (B, c) if it was built for them."""

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...

    def pull(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self.inverse(y, context)[0]

    def given(self, context: Tensor | None) -> Bijection:
        return self if context is None else Given(self, context)

    def initialise(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set what is set from data (`ActNorm`), in place, and return y. Nothing else ever calls it."""
        return self(x, context)[0]


@dataclass(frozen=True)
class Given(Bijection):
    """A layer under these conditions."""

    layer: Layer
    context: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x, self.context)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer.inverse(y, self.context)

    def pull(self, y: Tensor) -> Tensor:
        return self.layer.pull(y, self.context)


class Inverse(Layer):
    """A bijection the other way round."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.given(context).inverse(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.given(context).forward(y)

    def drawn(self, draws: Draws) -> Bijection:
        part = self.bijection.drawn(draws)
        return self if part is self.bijection else Inverse(part)


class Chain(Layer):
    """One bijection after the other: the log-determinants add up."""

    def __init__(self, *bijections: Bijection) -> None:
        super().__init__()
        self.bijections = bijections
        self.layers = nn.ModuleList(part for part in bijections if isinstance(part, nn.Module))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_dets = []
        for part in self.bijections:
            x, log_det = part.given(context).forward(x)
            log_dets.append(log_det)
        return x, _sum(log_dets, x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_dets = []
        for part in reversed(self.bijections):
            y, log_det = part.given(context).inverse(y)
            log_dets.append(log_det)
        return y, _sum(log_dets, y)

    def pull(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        for part in reversed(self.bijections):
            y = part.given(context).pull(y)
        return y

    def drawn(self, draws: Draws) -> Bijection:
        parts = [part.drawn(draws.at(i)) for i, part in enumerate(self.bijections)]
        return self if all(a is b for a, b in zip(parts, self.bijections, strict=True)) else Chain(*parts)

    def initialise(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for part in self.bijections:
            x = part.initialise(x, context) if isinstance(part, Layer) else part.forward(x)[0]
        return x


def _sum(log_dets: list[Tensor], like: Tensor) -> Tensor:
    if not log_dets:
        return like.new_zeros(len(like))
    total, *rest = log_dets
    for log_det in rest:
        total = total + log_det
    return total
