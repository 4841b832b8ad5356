"""p(x, z) beside q(z | x) for one batch: everything that a bound of log p(x) is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.flows.bases import StandardGaussian
from pushforward.numerics.dropout import counted
from pushforward.numerics.random import Draws
from pushforward.vae.posteriors import Posterior
from pushforward.vae.priors import Prior

LogLikelihood = Callable[[Tensor, int], Tensor]
"""(z (k·B, latent), k) -> log p(x | z) of the items of the batch, k times over: (k·B,)."""


class Terms(NamedTuple):
    """The two terms of the evidence bound, in nats: ELBO = log_likelihood − Σ_parts divergence."""

    log_likelihood: Tensor
    divergence: Tensor
    """(B, parts): one part per latent where KL(q ‖ p) has a closed form and q is independent, else one part."""

    @property
    def elbo(self) -> Tensor:
        """(B,)."""
        return self.log_likelihood - self.divergence.sum(1)


@dataclass(frozen=True, eq=False)
class Joint:
    """One batch under a model: the encoder's numbers (B, outputs), and the rules that read them."""

    raw: Tensor
    posterior: Posterior
    prior: Prior
    log_likelihood: LogLikelihood

    def terms(self, draws: Draws, *, held: bool = False) -> Terms:
        """One draw of z. KL(q ‖ N(0, 1)) is in closed form where q has one, else log q(z) − log p(z).

        With `held`, the latter's gradient is without ∂log q/∂φ at fixed z, whose mean is 0: less noise, the less the
        nearer q is to the posterior (Roeder et al. 2017).
        """
        z, log_q = self.posterior.sample(self.raw, draws.at("latent", 0))
        exact = self.posterior.divergence(self.raw) if isinstance(self.prior, StandardGaussian) else None
        if exact is None:
            log_q = self.posterior.held_log_prob(z, self.raw) if held else log_q
            exact = (log_q - self.prior.log_prob(z))[:, None]
        return Terms(self.log_likelihood(z, 1), exact)

    def log_weights(self, draws: Draws, samples: Sequence[int]) -> Tensor:
        """log p(x, z) − log q(z | x) of these numbers of draws: (k, B)."""
        k = len(samples)
        z, log_q = self.posterior.sample(self.raw.repeat(k, 1), several(draws, samples))
        return self._joint(z, draws, samples) - log_q.view(k, -1)

    def held_log_weights(self, draws: Draws, samples: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(z (k·B, latent), the same weights with the parameters of q held fixed in log q): see `Importance`."""
        k = len(samples)
        raw = self.raw.repeat(k, 1)
        z = self.posterior.sample(raw, several(draws, samples)).z
        z = z if z.requires_grad else z.detach().requires_grad_(torch.is_grad_enabled())
        log_q = self.posterior.held_log_prob(z, raw)
        return z, self._joint(z, draws, samples) - log_q.view(k, -1)

    def _joint(self, z: Tensor, draws: Draws, samples: Sequence[int]) -> Tensor:
        k = len(samples)
        with counted(several(draws.at("dropout"), samples)):  # a decoder's masks, one for each of its k·B items
            likelihood = self.log_likelihood(z, k)
        return (likelihood + self.prior.log_prob(z)).view(k, -1)


def several(draws: Draws, samples: Sequence[int]) -> Draws:
    """Keys for k draws of each item, item after item within each draw: draw j is the same whatever k is."""
    each = [draws.at("latent", int(j)) for j in samples]
    return Draws(torch.cat([d.base for d in each]), torch.cat([d.index for d in each]))
