"""A first stage: what encodes items to latents and decodes them, whatever it is."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from pushforward.numerics.random import Draws


class Code(NamedTuple):
    """Latents of items: their mean (B, *latent_shape), and the deviation of q(z | x) where the encoder is random."""

    mean: Tensor
    deviation: Tensor | None = None

    def sample(self, draws: Draws | None) -> Tensor:
        """A draw of q(z | x); its mean where no draws are given, or where there is nothing random."""
        if draws is None or self.deviation is None:
            return self.mean
        return self.mean + self.deviation * draws.at("code").normal_like(self.mean)


@runtime_checkable
class FirstStage(Protocol):
    """An `nn.Module` between items (B, *shape) in model units and latents (B, *latent_shape)."""

    shape: tuple[int, ...]
    latent_shape: tuple[int, ...]

    def code(self, x: Tensor) -> Code:
        """The latents of items."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """The items of latents: differentiable in z."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A first stage that tells how likely an item is given its latent, so that a model over it has a density."""

    exact: bool
    """Whether (x given z) and the law of z make the density of x, not a bound of it."""
    discrete: bool
    """Whether what it tells are probabilities of whole numbers."""

    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, in model units: (B,)."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """A first stage in closed form: it is fitted to the training set at once and not by steps."""

    def fit(self, x: Tensor) -> None:
        """Fit to items (N, *shape)."""
        ...
