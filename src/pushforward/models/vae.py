"""The variational autoencoder assembled: an encoder, a decoder, and the rules that read what they give."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.flows.bases import StandardGaussian
from pushforward.flows.checks import check_finite
from pushforward.models.family import Density, Family
from pushforward.networks.autoencoder import ConvDecoder, ConvEncoder
from pushforward.networks.perceptron import Perceptron
from pushforward.numerics.random import Draws
from pushforward.vae.bounds import Bound, Elbo
from pushforward.vae.importance import Evidence, evidence
from pushforward.vae.joint import Joint, Terms
from pushforward.vae.likelihoods import GaussianLikelihood, Likelihood
from pushforward.vae.posteriors import Diagonal, Posterior
from pushforward.vae.priors import Prior, VampPrior

EVIDENCE_SAMPLES = 100
"""Importance samples behind `VAE.density`."""
_ELBO = Elbo()


class VAE(Family):
    """p(x) = ∫ p(x | z) p(z) dz, trained through q(z | x) (Kingma & Welling 2014).

    Args:
        encoder: x (B, *shape) to `posterior.outputs` numbers (B, ·); with `num_classes`, `encoder(x, label)`.
        decoder: z (B, latent) to `likelihood.count` blocks of numbers, (B, count·C, …) for items (C, …).
        posterior, likelihood: how those numbers are read.
        shape: of one item, in model units.
        prior: of z; a standard normal unless given. A `VampPrior` uses this encoder.
        bound: what is descended.
        num_classes: how many classes the networks are told, 0 for none.
        noise: whether `draw` draws x from p(x | z), which is what the likelihood scores; else it gives E[x | z], as
            pictures are mostly shown.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        posterior: Posterior,
        likelihood: Likelihood,
        shape: Sequence[int],
        *,
        prior: Prior | VampPrior | None = None,
        bound: Bound = _ELBO,
        num_classes: int = 0,
        noise: bool = True,
    ) -> None:
        super().__init__(shape, num_classes)
        self.encoder, self.decoder, self.posterior, self.likelihood = encoder, decoder, posterior, likelihood
        self.prior = StandardGaussian((posterior.latent,)) if prior is None else prior
        self.bound, self.noise = bound, noise
        self._figures: Mapping[str, Tensor] = {}

    # -- what is trained -------------------------------------------------------------------------------------------

    def objectives(self) -> Mapping[str, Iterator[nn.Parameter]]:
        """One: all parameters descend the bound."""
        return {"loss": self.parameters()}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """The negative bound of each item in nats, summed over its coordinates: (B,)."""
        found = self.bound(self.joint(batch.values, self.labels_of(batch)), draws, training=self.training)
        self._figures = found.figures
        return found.nats

    def figures(self) -> Mapping[str, Tensor]:
        """What the last loss was made of, (B,) each: the log shows whether the divergence collapses."""
        return self._figures

    def terms(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Terms:
        """log p(x | z) and KL(q ‖ p) apart, each (B,) and (B, parts), with one draw of z."""
        return self.joint(x, labels).terms(draws)

    def joint(self, x: Tensor, labels: Tensor | None = None) -> Joint:
        """p(x, z) and q(z | x) of these items. Raises UserError for items the likelihood has no probability for."""
        check_finite(x, "batch")
        self.likelihood.check(x)

        def log_likelihood(z: Tensor, k: int) -> Tensor:
            raw = self._decoded(z, None if labels is None else labels.repeat(k))
            return self.likelihood.log_prob(x.repeat(k, *(1,) * len(self.shape)), raw)

        return Joint(self._encoded(x, labels), self.posterior, self.prior_density(), log_likelihood)

    def prior_density(self) -> Prior:
        """p(z), with what a VampPrior needs of the encoder worked out once."""
        if isinstance(self.prior, VampPrior):
            return self.prior.given(self._encoded(self.prior.items, self.prior.labels), self.posterior)
        return self.prior

    # -- what can be asked -----------------------------------------------------------------------------------------

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """One sample under each key, in model units: (B, *shape)."""
        raw = self._decoded(self.prior_density().sample(draws.at("prior")), labels)
        return self.likelihood.sample(raw, draws.at("noise")) if self.noise else self.likelihood.mean(raw)

    def evidence(self, x: Tensor, labels: Tensor | None, draws: Draws, samples: int = EVIDENCE_SAMPLES) -> Evidence:
        """log p(x) by importance sampling, its standard error and the effective number of samples."""
        return evidence(self.joint(x, labels), draws.at("evidence"), samples)

    def log_prob_bound(
        self, x: Tensor, labels: Tensor | None, draws: Draws, samples: int = EVIDENCE_SAMPLES
    ) -> tuple[Tensor, Tensor]:
        """(lower bound of log p(x) in expectation, its standard error), float64 nats (B,): `evidence` in short."""
        found = self.evidence(x, labels, draws, samples)
        return found.value, found.standard_error

    @property
    def discrete(self) -> bool:
        """Whether the likelihood gives probabilities of values, not densities."""
        return self.likelihood.discrete

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        """`log_prob_bound` with EVIDENCE_SAMPLES draws, and what it is."""
        value, error = self.log_prob_bound(x, labels, draws)
        return Density(value, error, f"importance sampling, {EVIDENCE_SAMPLES} draws", "the model, bounded from below")

    def encode(self, x: Tensor, labels: Tensor | None = None, draws: Draws | None = None) -> Tensor:
        """z (B, latent): the middle of q(z | x), or a draw of it where draws are given."""
        check_finite(x, "batch")
        raw = self._encoded(x, labels)
        return self.posterior.centre(raw) if draws is None else self.posterior.sample(raw, draws.at("latent", 0)).z

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """E[x | z]: (B, latent) to (B, *shape)."""
        return self.likelihood.mean(self._decoded(z, labels))

    def raw_posterior(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The numbers of q(z | x) as `posterior` reads them: (B, posterior.outputs)."""
        check_finite(x, "batch")
        return self._encoded(x, labels)

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x | z) in nats: (B,)."""
        self.likelihood.check(x)
        return self.likelihood.log_prob(x, self._decoded(z, labels))

    def reconstruct(self, x: Tensor, labels: Tensor | None = None, draws: Draws | None = None) -> Tensor:
        """What is left of x after it went through z: (B, *shape)."""
        return self.decode(self.encode(x, labels, draws), labels)

    def traversal(self, z: Tensor, values: Sequence[float], latents: Sequence[int], label: int | None = None) -> Tensor:
        """z (latent,) decoded with one latent after the other set to each value: (latents, values, *shape)."""
        size = self.posterior.latent
        if z.shape != (size,) or not latents or not values or not all(0 <= i < size for i in latents):
            raise UserError(
                f"A traversal needs one z of {size} numbers, values, and latents from 0 to {size - 1}; got a z of "
                f"shape {tuple(z.shape)}, {len(values)} values and the latents {list(latents)}."
            )
        grid = z.repeat(len(latents), len(values), 1)
        for place, i in enumerate(latents):
            grid[place, :, i] = torch.as_tensor(values, dtype=z.dtype, device=z.device)
        flat = grid.flatten(0, 1)
        labels = None if label is None else torch.full((len(flat),), label, device=z.device)
        return self.decode(flat, labels).unflatten(0, (len(latents), len(values)))

    # -- the networks ----------------------------------------------------------------------------------------------

    def _encoded(self, x: Tensor, labels: Tensor | None) -> Tensor:
        raw = self._told(self.encoder, x, labels)
        if raw.shape != (len(x), self.posterior.outputs):
            raise UserError(
                f"The encoder gives numbers of shape {tuple(raw.shape)}, and this posterior of {self.posterior.latent} "
                f"latents reads ({len(x)}, {self.posterior.outputs})."
            )
        return raw

    def _decoded(self, z: Tensor, labels: Tensor | None) -> Tensor:
        raw = self._told(self.decoder, z, labels)
        first, *rest = self.shape
        expected = (len(z), first * self.likelihood.count, *rest)
        if raw.shape != expected:
            raise UserError(
                f"The decoder gives numbers of shape {tuple(raw.shape)}, and this likelihood of items {self.shape} "
                f"reads {expected}."
            )
        return raw

    def _told(self, network: nn.Module, x: Tensor, labels: Tensor | None) -> Tensor:
        if self.num_classes and labels is None:
            raise UserError(f"The model is conditional on {self.num_classes} classes, and no labels were given.")
        if labels is not None and not self.num_classes:
            raise UserError("the model was trained without labels, so it cannot be asked for one")
        raw = network(x, labels) if self.num_classes else network(x)
        return raw.to(x.dtype)  # a network that computes in bfloat16 is still read in full precision


def networks(
    shape: Sequence[int],
    latent: int,
    outputs: int,
    count: int,
    *,
    hidden: Sequence[int] | None = None,
    width: int = 32,
    num_classes: int = 0,
) -> tuple[nn.Module, nn.Module]:
    """(encoder to `outputs` numbers, decoder of `latent` numbers to `count` blocks): perceptrons for vectors (D,) and
    wherever `hidden` widths are given, else convolutional for images (C, H, W)."""
    first, *rest = shape
    target = (first * count, *rest)
    if hidden is None and len(shape) == 3:
        return (
            ConvEncoder(shape, outputs, width, num_classes=num_classes),
            ConvDecoder(latent, target, width, num_classes=num_classes),
        )
    widths = (200, 200) if hidden is None else tuple(hidden)
    return (
        Perceptron(shape, (outputs,), widths, num_classes),
        Perceptron((latent,), target, widths[::-1], num_classes),
    )


def vae(
    shape: Sequence[int],
    latent: int | None = None,
    *,
    likelihood: Likelihood | None = None,
    posterior: Posterior | None = None,
    prior: Prior | VampPrior | None = None,
    bound: Bound = _ELBO,
    hidden: Sequence[int] | None = None,
    width: int = 32,
    num_classes: int = 0,
    noise: bool = True,
) -> VAE:
    """A VAE with networks made for the shape; see `VAE` and `networks`.

    Args:
        latent: how many latents; left out, about the square root of the numbers of an item, from 2 to 32. Taken from
            the `posterior` where one is given (a `Diagonal` otherwise).
        likelihood: Gaussian with one learned scale unless given.
    """
    size = min(32, max(2, round(math.sqrt(math.prod(shape))))) if latent is None else latent
    posterior = Diagonal(size) if posterior is None else posterior
    if latent not in (None, posterior.latent):
        raise UserError(f"{latent} latents were asked for, but the posterior has {posterior.latent}.")
    likelihood = GaussianLikelihood() if likelihood is None else likelihood
    encoder, decoder = networks(
        shape,
        posterior.latent,
        posterior.outputs,
        likelihood.count,
        hidden=hidden,
        width=width,
        num_classes=num_classes,
    )
    return VAE(
        encoder, decoder, posterior, likelihood, shape, prior=prior, bound=bound, num_classes=num_classes, noise=noise
    )
