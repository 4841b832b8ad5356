"""Priors p(z): a standard normal, anything of `flows` with a density and samples, or the encoder's own mixture.

`StandardGaussian`, `Gaussian`, `Mixture` and any `Flow` over (latent,) are priors as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.flows.bases import Mixture
from pushforward.flows.builders import HIDDEN, realnvp
from pushforward.flows.flow import Flow
from pushforward.numerics.random import Draws, key, keys, normal
from pushforward.vae.posteriors import Posterior, check_latent


class Prior(Protocol):
    """A density of latents that can be drawn from."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats: (B, latent) -> (B,)."""
        ...

    def sample(self, draws: Draws) -> Tensor:
        """One z under each key: (B, latent)."""
        ...


def mixture_prior(latent: int, components: int = 64, spread: float = 1.0) -> Mixture:
    """Σ_k w_k N(m_k, s_k²), all learned; the means start apart, `spread` from the origin."""
    check_latent(latent)
    if components < 1:
        raise UserError(f"A mixture needs at least one component; got {components}.")
    means = spread * normal(keys(key("mixture prior"), range(components)), (latent,))
    return Mixture(means, torch.ones(components, latent))


def flow_prior(latent: int, transforms: int = 4) -> Flow:
    """Affine couplings over a standard normal, fast both ways; the standard normal itself before training."""
    check_latent(latent)
    return realnvp(latent, transforms, HIDDEN)


class VampPrior(nn.Module):
    """Σ_k w_k q(z | u_k): the mixture of the posteriors of learned pseudo-items u_k (Tomczak & Welling 2018).

    A density of z is K densities of the posterior: cheap for Gaussians, `latent` passes each for an inverse
    autoregressive flow.

    Args:
        items: where the pseudo-items start (K, *shape), in model units: training items are a good choice.
        labels: of the pseudo-items, int64 (K,), for an encoder that takes labels.
    """

    labels: Tensor | None

    def __init__(self, items: Tensor, labels: Tensor | None = None) -> None:
        super().__init__()
        if len(items) < 1 or (labels is not None and labels.shape != items.shape[:1]):
            given = None if labels is None else tuple(labels.shape)
            raise UserError(
                f"A VampPrior needs at least one pseudo-item, and one label for each where there are labels; got items "
                f"of shape {tuple(items.shape)} and labels of shape {given}."
            )
        self.items = nn.Parameter(items.detach().clone())
        self.log_weights = nn.Parameter(items.new_zeros(len(items)))
        self.register_buffer("labels", None if labels is None else labels.clone())

    def given(self, raw: Tensor, posterior: Posterior) -> Posteriors:
        """The density, from what the encoder makes of the pseudo-items: raw (K, outputs)."""
        return Posteriors(raw, posterior, self.log_weights)


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Σ_k w_k q(z | x_k) of rows that an encoder gave (K, outputs); log-weights (K,), not normalised."""

    raw: Tensor
    posterior: Posterior
    log_weights: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        log_joint = self.posterior.pairwise(z, self.raw) + torch.log_softmax(self.log_weights, 0)
        return log_joint.logsumexp(1)

    def sample(self, draws: Draws) -> Tensor:
        """Differentiable in the posteriors, not in the weights."""
        ends = torch.softmax(self.log_weights.detach().double(), 0).cumsum(0)
        chosen = torch.searchsorted(ends, draws.at("component").uniform(dtype=torch.float64)).clamp(max=len(ends) - 1)
        return self.posterior.sample(self.raw[chosen], draws.at("place")).z


def aggregate(raw: Tensor, posterior: Posterior) -> Posteriors:
    """(1/N) Σ_n q(z | x_n), the aggregate posterior of items: what the best prior equals (raw (N, outputs))."""
    return Posteriors(raw, posterior, raw.new_full((len(raw),), -math.log(len(raw))))
