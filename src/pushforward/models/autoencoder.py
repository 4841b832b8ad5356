"""The autoencoder below a latent model: reconstruction, regulariser, features, critic (Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.latent.adversary import Adversary, adaptive_weight
from pushforward.latent.perceptual import Perceptual
from pushforward.latent.regularisers import KL, Regulariser
from pushforward.latent.stage import Code
from pushforward.models.family import Family
from pushforward.networks.autoencoder import SpatialDecoder, SpatialEncoder, sizes
from pushforward.networks.perceptron import Perceptron
from pushforward.numerics.random import Draws

DISCRIMINATOR = "discriminator"
Distance = Callable[[Tensor, Tensor], Tensor]
"""Items and their reconstructions (B, …) -> (B,)."""


def absolute_error(x: Tensor, y: Tensor) -> Tensor:
    """Σ|x − y| over an item: (B,)."""
    return (x - y).abs().flatten(1).sum(1)


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """½Σ(x − y)² over an item: (B,)."""
    return 0.5 * (x - y).square().flatten(1).sum(1)


class Autoencoder(Family):
    """An encoder and a decoder that descend distance + features + penalty + critic; afterwards a `FirstStage`.

    Everything is summed over an item. It has no law of its latents: draw from a latent model over it.

    Args:
        encoder: x (B, *shape) to (B, regulariser.blocks·C, …), C the first number of `latent_shape`.
        decoder: z (B, *latent_shape) to (B, *shape), its last layer in `decoder.output` where there is an adversary.
        latent_shape: of one latent.
        regulariser: `KL` or `VQ`.
        distance: of items and their reconstructions.
        perceptual, perceptual_weight: a distance in the features of a network of the user's, per number of an item.
        adversary: a critic of patches, or None.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        shape: Sequence[int],
        latent_shape: Sequence[int],
        *,
        regulariser: Regulariser | None = None,
        distance: Distance = absolute_error,
        perceptual: Perceptual | None = None,
        perceptual_weight: float = 1.0,
        adversary: Adversary | None = None,
    ) -> None:
        super().__init__(shape)
        self.encoder, self.decoder, self.latent_shape = encoder, decoder, tuple(latent_shape)
        self.regulariser = KL() if regulariser is None else regulariser
        self.distance, self.perceptual, self.perceptual_weight = distance, perceptual, perceptual_weight
        self.adversary = adversary
        self.progress = 0.0
        self._figures: dict[str, Tensor] = {}

    # -- training --------------------------------------------------------------------------------------------------

    def objectives(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The autoencoder, then the critic where there is one."""
        if self.adversary is None:
            return {"loss": self.parameters()}
        other = {id(p) for p in self.adversary.parameters()}
        return {
            "loss": [p for p in self.parameters() if id(p) not in other],
            DISCRIMINATOR: self.adversary.parameters(),
        }

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """What an objective descends, of each item: (B,)."""
        x = batch.values
        if objective == DISCRIMINATOR:
            return self._criticise(x, draws)
        found = self.regulariser(self._encoded(x), draws)
        y = self._decoded(found.z)
        error = self._error(x, y)
        total = error + found.penalty
        self._figures = {"error": error.detach(), "penalty": found.penalty.detach(), **found.figures}
        if self.adversary is not None and torch.is_grad_enabled() and self.adversary.acts(self.progress):
            g = self.adversary.fooled(y)
            weight = adaptive_weight(error, g, self._last())
            total = total + self.adversary.factor * weight * g
            self._figures |= {"critic": g.detach(), "critic_weight": weight}
        return total

    def figures(self) -> Mapping[str, Tensor]:
        """What the last loss was made of."""
        return self._figures

    @torch.no_grad()
    def validation_loss(self, batch: Batch, draws: Draws) -> Tensor:
        """Error and penalty of each held-out item, from the mean of its code and without the critic: (B,)."""
        raw = self._encoded(batch.values)
        penalty = self.regulariser(raw, draws).penalty
        return self._error(batch.values, self.decode(self.regulariser.code(raw).mean)) + penalty

    def _criticise(self, x: Tensor, draws: Draws) -> Tensor:
        assert self.adversary is not None
        with torch.no_grad():
            y = self.decode(self.regulariser.code(self._encoded(x)).sample(draws))
        told = self.adversary.told(x, y)
        return told if self.adversary.acts(self.progress) else 0.0 * told

    def _error(self, x: Tensor, y: Tensor) -> Tensor:
        error = self.distance(x, y)
        if self.perceptual is None:
            return error
        return error + self.perceptual_weight * x[0].numel() * self.perceptual(y, x)

    def _last(self) -> Tensor:
        weight = getattr(getattr(self.decoder, "output", None), "weight", None)
        if not isinstance(weight, Tensor):
            raise UserError("an adversary weighs itself at the decoder's last layer: name it `output` in your decoder")
        return weight

    # -- the first stage -------------------------------------------------------------------------------------------

    def code(self, x: Tensor) -> Code:
        """Latents of items (B, *shape): their mean, and their deviation under the KL regulariser."""
        return self.regulariser.code(self._encoded(x))

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Items (B, *shape) of latents, which are quantised first where there are codes."""
        return self._decoded(self.regulariser.latents(z))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean of the latents of items: (B, *latent_shape)."""
        return self.code(x).mean

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is left of x after it went through its latent."""
        return self.decode(self.encode(x))

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        raise UserError("an autoencoder has no law of its latents, so it draws nothing: train a latent model over it")

    def _encoded(self, x: Tensor) -> Tensor:
        raw = self.encoder(x).to(x.dtype)
        first, *rest = self.latent_shape
        expected = (len(x), first * self.regulariser.blocks, *rest)
        if raw.shape != expected:
            raise UserError(f"The encoder gives numbers {tuple(raw.shape)}, and this regulariser reads {expected}.")
        return raw

    def _decoded(self, z: Tensor) -> Tensor:
        y = self.decoder(z).to(z.dtype)
        if tuple(y.shape[1:]) != self.shape:
            raise UserError(f"The decoder gives items of shape {tuple(y.shape[1:])}, and {self.shape} was expected.")
        return y


def autoencoder(
    shape: Sequence[int],
    channels: int = 4,
    *,
    halvings: int | None = None,
    width: int = 32,
    blocks: int = 1,
    hidden: Sequence[int] = (200, 200),
    regulariser: Regulariser | None = None,
    distance: Distance | None = None,
    perceptual: Perceptual | None = None,
    adversary: Adversary | None = None,
) -> Autoencoder:
    """An autoencoder with networks made for the shape: of pictures (C, H, W) a map of `channels`, halved `halvings`
    times, with Σ|x − y|; of vectors (D,) `channels` numbers, with ½Σ(x − y)²."""
    regulariser = KL() if regulariser is None else regulariser
    outputs = channels * regulariser.blocks
    encoder: nn.Module
    decoder: nn.Module
    if len(shape) == 3:
        halvings = usual_halvings(shape) if halvings is None else halvings
        latent: tuple[int, ...] = (channels, *sizes(shape, halvings)[-1])
        encoder = SpatialEncoder(shape, outputs, width, halvings, blocks)
        decoder = SpatialDecoder(channels, shape, width, halvings, blocks)
        distance = absolute_error if distance is None else distance
    else:
        if halvings is not None:
            raise UserError(
                f"Halvings are of pictures, and the items here have the shape {tuple(shape)}: leave it out."
            )
        latent = (channels,)
        encoder, decoder = Perceptron(shape, (outputs,), hidden), Perceptron((channels,), shape, tuple(hidden)[::-1])
        distance = squared_error if distance is None else distance
    return Autoencoder(
        encoder, decoder, shape, latent, regulariser=regulariser, distance=distance, perceptual=perceptual,
        adversary=adversary,
    )  # fmt: skip


def usual_halvings(shape: Sequence[int]) -> int:
    """How often pictures (C, H, W) are halved: twice from 16 pixels, three times from 64, once below 16."""
    side = min(shape[1:])
    return 3 if side >= 64 else 2 if side >= 16 else 1
