"""Priors whose density is known — flows, energies, mixtures: chains on log p(x) + log p(y | x), exact by Metropolis.

Where the prior is a map x = g(z) of normal z, as a flow is, chains are better run in z: there the prior is round, and
its modes lie closer together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.energy.chains import HMC, Kernel, fit_step, run_chain
from pushforward.energy.point import checked, target_of
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.posterior.chains import Chains, Watched

Density = Callable[[Tensor], Tensor]
"""log p up to a constant: (B, …) -> (B,), differentiable."""
Map = Callable[[Tensor], Tensor]

_START = HMC(1e-3, 8)


@dataclass(frozen=True)
class DensityChains:
    """`fit` moves while the step is fitted to its acceptance, then `moves` more, one chain per row.

    Nothing here parts from what the kernel is: `HMC` by default, `MALA` as well.
    """

    kernel: Kernel = _START
    fit: int = 200
    moves: int = 200

    def __post_init__(self) -> None:
        if self.fit < 1 or self.moves < 4:
            raise UserError(
                f"chains need a move to fit their step and four to be judged by; got {self.fit} and {self.moves}"
            )

    def sample(self, log_prior: Density, likelihood: Likelihood, start: Tensor, draws: Draws) -> Chains:
        """Draws of p(x | y) from starts x (B, …), one for each row of the likelihood."""
        return self._run(lambda x: log_prior(x) + likelihood.log_prob(x), likelihood, start, draws, lambda x: x)

    def sample_latent(self, decode: Map, likelihood: Likelihood, start: Tensor, draws: Draws) -> Chains:
        """The same for x = decode(z), z ~ N(0, I): starts are z (B, …), what is returned are x."""

        def density(z: Tensor) -> Tensor:
            return likelihood.log_prob(decode(z)) - 0.5 * sum_per_sample(z.square())

        return self._run(density, likelihood, start, draws, decode)

    def _run(self, density: Density, likelihood: Likelihood, start: Tensor, draws: Draws, decode: Map) -> Chains:
        target = target_of(density)
        point = checked(target(start), "where its chain starts")
        kernel, point = fit_step(target, self.kernel, point, self.fit, draws.at("fit"))
        watch, accepted = Watched.of(decode(point.x).detach()), torch.zeros_like(point.value, dtype=torch.float64)
        for moved in run_chain(target, kernel, point, self.moves, draws.at("chain")):
            x = decode(moved.point.x).detach()
            watch.look(x, likelihood, None)
            accepted = accepted + moved.accepted.double() / self.moves
        return Chains(x, watch.trace(), accepted)
