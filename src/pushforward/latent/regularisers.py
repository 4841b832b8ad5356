"""How the latents of an autoencoder are kept in bounds: a little KL towards N(0, I), or a codebook."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.latent.stage import Code
from pushforward.numerics.random import Draws
from pushforward.vae.codebook import Codebook
from pushforward.vae.quantiser import VectorQuantiser

_LOG_VARIANCES = (-30.0, 20.0)


class Regularised(NamedTuple):
    """What the decoder is given (B, *latent), the penalty of each item (B,), and figures for the log."""

    z: Tensor
    penalty: Tensor
    figures: Mapping[str, Tensor]


class Regulariser(nn.Module, abc.ABC):
    """What is made of an encoder's numbers before the decoder sees them."""

    blocks: int
    """How many numbers the encoder gives per number of a latent."""

    @abc.abstractmethod
    def code(self, raw: Tensor) -> Code:
        """The latents that a latent model learns, of the encoder's numbers (B, blocks·C, …)."""

    @abc.abstractmethod
    def forward(self, raw: Tensor, draws: Draws) -> Regularised:
        """One pass in training."""

    def latents(self, z: Tensor) -> Tensor:
        """Latents as the decoder sees them."""
        return z


class KL(Regulariser):
    """z ~ N(μ, σ²) with the penalty weight·KL(q ‖ N(0, I)), summed over the latent (Rombach et al. 2022).

    The usual weight of 1e-6 is meant for sums: of the reconstruction error over pixels, and of KL over latents.
    """

    blocks = 2

    def __init__(self, weight: float = 1e-6) -> None:
        super().__init__()
        if not 0 <= weight < math.inf:
            raise UserError(f"the weight of KL is a number of at least 0; got {weight}")
        self.weight = weight

    def code(self, raw: Tensor) -> Code:
        mean, log_variance = raw.chunk(2, 1)
        return Code(mean, torch.exp(0.5 * log_variance.clamp(*_LOG_VARIANCES)))

    def forward(self, raw: Tensor, draws: Draws) -> Regularised:
        mean, log_variance = raw.chunk(2, 1)
        log_variance = log_variance.clamp(*_LOG_VARIANCES)
        terms = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        kl = terms.reshape(len(raw), -1).sum(1)
        return Regularised(self.code(raw).sample(draws), self.weight * kl, {"kl": kl.detach()})


class VQ(Regulariser):
    """The nearest codes of a codebook, gradients straight through; a latent model learns z before it is quantised.

    The penalty is that of the codebook (`Codebook`, which learns its codes by gradients), or commitment·‖z − sg e‖²
    where codes follow by averages (`VectorQuantiser`).
    """

    blocks = 1

    def __init__(self, book: Codebook | VectorQuantiser, commitment: float = 0.25) -> None:
        super().__init__()
        self.book, self.commitment = book, commitment

    def code(self, raw: Tensor) -> Code:
        return Code(raw)

    def latents(self, z: Tensor) -> Tensor:
        return self.book(z).vectors

    def forward(self, raw: Tensor, draws: Draws) -> Regularised:
        if isinstance(self.book, VectorQuantiser) and self.training:
            self.book.update(raw, draws)
        found = self.book(raw)
        used, perplexity = self.book.usage(found.codes)
        figures = {
            "distance": found.distance.detach(),
            "codes_used": torch.tensor(float(used), device=raw.device),
            "perplexity": torch.tensor(perplexity, device=raw.device),
        }
        if isinstance(self.book, Codebook):
            return Regularised(found.vectors, self.book.penalty(raw, found.codes), figures)
        return Regularised(found.vectors, self.commitment * found.distance, figures)
