"""The vector-quantised autoencoder assembled: a map of codes per item, and an autoregressive law of such maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.flows.checks import check_finite
from pushforward.models.family import Density, Family
from pushforward.networks.autoencoder import SpatialDecoder, SpatialEncoder, sizes
from pushforward.networks.causal import CausalCodes
from pushforward.networks.perceptron import Perceptron
from pushforward.numerics.random import Draws
from pushforward.vae.likelihoods import GaussianLikelihood, Likelihood, SharedScale
from pushforward.vae.quantiser import Quantised, VectorQuantiser

CODES, CODE_SIZE = 256, 32
_PRIOR_WIDTH = 64
"""Of the law of codes of vectors; that of images is twice as wide as their networks."""


class VQAutoencoder(Family):
    """x → encoder → nearest codes → decoder → p(x | codes), and p(codes) (van den Oord et al. 2017).

    The loss is −log p(x | codes) + commitment·‖z − sg e‖², sums over everything; the codes follow by averages. The
    second objective, −log p(codes), trains the prior alone. As the encoder is a function,
    log p(x) ≥ log p(x | codes(x)) + log p(codes(x)).

    Args:
        encoder: x (B, *shape) to a map (B, d, h, w).
        decoder: such a map to `likelihood.count` blocks of numbers, (B, count·C, …).
        prior: codes (B, h, w), and labels where there are classes, to log-odds (B, K, h, w) of each place given those
            before it.
        grid: (h, w).
        commitment: weight that keeps the encoder near the codes, on its own side of the distance.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        quantiser: VectorQuantiser,
        prior: nn.Module,
        likelihood: Likelihood,
        shape: Sequence[int],
        grid: tuple[int, int],
        *,
        commitment: float = 0.25,
        num_classes: int = 0,
        noise: bool = True,
    ) -> None:
        super().__init__(shape, num_classes)
        if not 0 < commitment < math.inf:
            raise UserError(f"The weight of the commitment must be a positive number; got {commitment}.")
        self.encoder, self.decoder, self.quantiser, self.prior = encoder, decoder, quantiser, prior
        self._figures: Mapping[str, Tensor] = {}
        self.likelihood, self.grid, self.commitment, self.noise = likelihood, grid, commitment, noise

    # -- what is trained -------------------------------------------------------------------------------------------

    def objectives(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The autoencoder, then the law of its codes."""
        own = {id(p) for p in self.prior.parameters()}
        return {"loss": [p for p in self.parameters() if id(p) not in own], "prior": self.prior.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """Nats of each item: (B,). In training the autoencoder's loss moves the codes by what it met."""
        labels = self.labels_of(batch)
        if objective == "prior":
            return -self.log_prior(self.encode(batch.values), labels)
        x = batch.values
        z = self._encoded(x)
        if self.training:
            self.quantiser.update(z, draws)
        found: Quantised = self.quantiser(z)
        used, perplexity = self.quantiser.usage(found.codes)
        self._figures = {
            "distance": found.distance.detach(),
            "codes_used": torch.tensor(float(used), device=x.device),
            "perplexity": torch.tensor(perplexity, device=x.device),
        }
        return self.commitment * found.distance - self.likelihood.log_prob(x, self._decoded(found.vectors))

    def figures(self) -> Mapping[str, Tensor]:
        """Of the last batch: how far the encoder is from the codes, how many occurred, and how evenly."""
        return self._figures

    def validation_loss(self, batch: Batch, draws: Draws) -> Tensor:
        """What the two objectives stand for together: −`log_prob_bound` of each item (B,)."""
        return -self.log_prob_bound(batch.values, self.labels_of(batch))[0]

    def log_prior(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(codes) in nats: int64 (B, h, w) -> (B,)."""
        log_p = torch.log_softmax(self._log_odds(codes, labels), 1)
        return log_p.gather(1, codes[:, None]).flatten(1).sum(1)

    # -- what can be asked -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The codes of items, which need no labels: int64 (B, h, w)."""
        return self.quantiser(self._encoded(x)).codes

    def vectors(self, x: Tensor) -> Tensor:
        """The encoder's map of items before it is quantised: (B, d, h, w)."""
        return self._encoded(x)

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """E[x | vectors of codes]: (B, d, h, w) to (B, *shape)."""
        return self.likelihood.mean(self._decoded(vectors))

    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """E[x | codes], which need no labels: (B, *shape)."""
        return self.likelihood.mean(self._decoded(self.quantiser.vectors(codes)))

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is left of x after it went through its codes; labels are not needed: (B, *shape)."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """One sample under each key: codes place by place from the prior, then x (B, *shape)."""
        height, width = self.grid
        codes = torch.zeros(len(draws), height, width, dtype=torch.int64, device=self.device)
        u = draws.at("codes").uniform(self.grid, torch.float64)
        for i in range(height):
            for j in range(width):
                odds = self._log_odds(codes[:, : i + 1], labels)[:, :, i, j]
                ends = functional.softmax(odds.double(), 1).cumsum(1)
                codes[:, i, j] = (ends[:, :-1] < u[:, i, j, None]).sum(1)
        raw = self._decoded(self.quantiser.vectors(codes))
        return self.likelihood.sample(raw, draws.at("noise")) if self.noise else self.likelihood.mean(raw)

    @torch.no_grad()
    def log_prob_bound(
        self, x: Tensor, labels: Tensor | None, draws: Draws | None = None, samples: int = 1
    ) -> tuple[Tensor, Tensor]:
        """(log p(x | codes) + log p(codes), 0): a lower bound without randomness, float64 nats (B,)."""
        codes = self.encode(x)
        raw = self._decoded(self.quantiser.vectors(codes))
        value = self.likelihood.log_prob(x, raw).double() + self.log_prior(codes, labels).double()
        return value, torch.zeros_like(value)

    @property
    def discrete(self) -> bool:
        """Whether the likelihood gives probabilities of values, not densities."""
        return self.likelihood.discrete

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """`log_prob_bound`, and what it is."""
        return Density(*self.log_prob_bound(x, labels), "the item's own codes", "a lower bound of the model's")

    # -- the networks ----------------------------------------------------------------------------------------------

    def _encoded(self, x: Tensor) -> Tensor:
        check_finite(x, "batch")
        self.likelihood.check(x)
        z = self.encoder(x).to(x.dtype)  # what a network computed in bfloat16 is read in full precision
        expected = (len(x), self.quantiser.dim, *self.grid)
        if z.shape != expected:
            raise UserError(f"The encoder gives a map {tuple(z.shape)}, and this quantiser reads {expected}.")
        return z

    def _decoded(self, vectors: Tensor) -> Tensor:
        raw = self.decoder(vectors).to(vectors.dtype)
        first, *rest = self.shape
        expected = (len(vectors), first * self.likelihood.count, *rest)
        if raw.shape != expected:
            raise UserError(f"The decoder gives numbers {tuple(raw.shape)}, and this likelihood reads {expected}.")
        return raw

    def _log_odds(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        if not self.num_classes:
            return self.prior(codes)
        if labels is None:
            raise UserError(f"The model is conditional on {self.num_classes} classes, and no labels were given.")
        return self.prior(codes, labels)


def vq(
    shape: Sequence[int],
    codes: int = CODES,
    dim: int = CODE_SIZE,
    *,
    likelihood: Likelihood | None = None,
    places: int | None = None,
    levels: int | None = None,
    width: int = 32,
    hidden: Sequence[int] = (200, 200),
    decay: float = 0.99,
    revive: float = 0.01,
    commitment: float = 0.25,
    num_classes: int = 0,
    noise: bool = True,
) -> VQAutoencoder:
    """A vector-quantised autoencoder with networks made for the shape; see `VQAutoencoder` and `VectorQuantiser`.

    Args:
        codes, dim: how many codes, of how many numbers.
        places: codes per vector (D,), half of D unless given.
        levels: how often images (C, H, W) are halved on the way to their codes; see `usual_levels`.
        width, hidden: channels of the networks of images; layers of those of vectors.
        likelihood: Gaussian with one learned scale unless given.
    """
    likelihood = GaussianLikelihood(SharedScale()) if likelihood is None else likelihood
    quantiser = VectorQuantiser(codes, dim, decay, revive)
    first, *rest = shape
    target = (first * likelihood.count, *rest)
    encoder: nn.Module
    decoder: nn.Module
    if len(shape) == 3:
        if places is not None:
            raise UserError(
                "The codes of an image lie on a grid that its size decides; leave out the number of places."
            )
        levels = usual_levels(shape) if levels is None else levels
        grid, prior_width = sizes(shape, levels)[-1], 2 * width
        encoder, decoder = SpatialEncoder(shape, dim, width, levels), SpatialDecoder(dim, target, width, levels)
    else:
        grid, prior_width = (1, usual_places(shape) if places is None else places), _PRIOR_WIDTH
        encoder, decoder = Perceptron(shape, (dim, *grid), hidden), Perceptron((dim, *grid), target, hidden[::-1])
    prior = CausalCodes(codes, prior_width, num_classes=num_classes)
    return VQAutoencoder(
        encoder,
        decoder,
        quantiser,
        prior,
        likelihood,
        shape,
        grid,
        commitment=commitment,
        num_classes=num_classes,
        noise=noise,
    )


def usual_levels(shape: Sequence[int]) -> int:
    """How often images (C, H, W) are halved: twice, so that a code stands for 4×4 pixels; once below 16 pixels."""
    return 2 if min(shape[1:]) >= 16 else 1


def usual_places(shape: Sequence[int]) -> int:
    """Codes of a vector (D,): half as many as it has numbers."""
    return max(1, shape[0] // 2)
