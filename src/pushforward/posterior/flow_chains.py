"""Chains in the latent of the model's own sampler: exact for the law that it draws, whatever its levels say.

A deterministic sampler of a few steps is a map x = g(z) of normal z, and with it a prior of its own, p_g. Its posterior
in z is N(z; 0, I) p(y | g(z)), up to a constant: Hamiltonian moves with a Metropolis test leave it invariant, through
the gradient of all of g. Nothing is asked of the network but to be differentiable: where its levels of noise disagree,
so that noise splitting answers for no one law, this is still exact for the law of `default_sampler` with so many steps.
The price is `steps` evaluations, and their gradient, per leap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.energy.chains import HMC
from pushforward.energy.point import checked, target_of
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.method import Method
from pushforward.inverse.operators.operator import Shape
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN
from pushforward.paths.grids import Karras
from pushforward.posterior.bridge import require_noise
from pushforward.posterior.chains import Chains, Watched, rescaled
from pushforward.posterior.gibbs import usual_warm
from pushforward.samplers.ancestral import DDIM
from pushforward.samplers.default import default_sampler, deviation
from pushforward.samplers.step import Observer, Progress, encode, upwards

_START = 0.02
"""ε of the first leap, in the unit of z; each chain fits its own."""
_BACK = 20
"""Evaluations from a guided draw back to its latent, from where a chain may start as well as from any."""


@dataclass(frozen=True)
class FlowChains:
    """Hamiltonian chains in z, one per row; `steps` evaluations make x of z, `leaps` leaps a move.

    They begin at the latent of a guided draw by `warm`, which takes `start` evaluations. Of the moves that the
    evaluations allow, the share `fitting` fits each chain's step, and is left behind. Raises UserError for budgets of
    fewer than eight moves, and for measurements without noise.
    """

    steps: int = 8
    leaps: int = 5
    fitting: float = 0.5
    warm: Method | None = None
    start: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1 or self.leaps < 1 or not 0 < self.fitting < 1:
            raise UserError(
                "chains through a sampler take at least one step and one leap, and a share of fitting between 0 and 1; "
                f"got {self.steps}, {self.leaps} and {self.fitting}"
            )

    def decoder(self, denoiser: Denoiser) -> Callable[[Tensor], Tensor]:
        """g: z (B, …) -> x (B, …), differentiable. It draws nothing."""
        sampler = default_sampler(denoiser.path, self.steps, deviation(denoiser))

        def decode(z: Tensor) -> Tensor:
            none = Draws.of(0, range(len(z)), "none", z.device)
            return sampler.sample(denoiser, denoiser.path.prior(z), self.steps, none)

        return decode

    @torch.no_grad()
    def prior_draws(
        self,
        denoiser: Denoiser,
        shape: Shape,
        draws: Draws,
        dtype: torch.dtype = torch.float32,
        at_once: int = 256,
    ) -> Tensor:
        """One item of p_g per key, what the chains' answers are calibrated by: (B, *shape)."""
        parts = []
        for rows in torch.arange(len(draws), device=draws.base.device).split(at_once):
            z = draws[rows].at("prior").normal(shape, dtype)
            parts.append(self.decoder(denoiser.rows(rows))(z))
        return torch.cat(parts)

    def restore(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Tensor:
        return self.chains(denoiser, likelihood, x, evaluations, draws, observe).x

    def chains(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Chains:
        """As `restore`, with what was watched of every move after the fit, and the acceptance (B,)."""
        moves = (evaluations - self.start - _BACK - self.steps) // (self.steps * (self.leaps + 1))  # one to watch
        if moves < 8:
            raise UserError(
                f"chains through {self.steps} steps of a sampler, {self.leaps} leaps a move, need at least "
                f"{self.start + _BACK + self.steps * (8 * (self.leaps + 1) + 1)} evaluations; got {evaluations}"
            )
        require_noise(likelihood)
        decode = self.decoder(denoiser)
        target = target_of(lambda z: likelihood.log_prob(decode(z)) - 0.5 * sum_per_sample(z.square()))
        point = checked(target(self._latent(denoiser, likelihood, x, draws)), "where its chain starts")
        step = torch.full(x.shape[:1], _START, dtype=x.real.dtype, device=x.device)
        watch, accepted = Watched.of(x), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        fitted = int(self.fitting * moves)
        for i in range(moves):
            moved = HMC(step, self.leaps)(target, point, draws.at("move", i))
            point = moved.point
            if i < fitted:
                step = rescaled(step, moved.accepted, HMC.wanted, i)
            else:
                accepted = accepted + moved.accepted.double() / (moves - fitted)
                found = decode(point.x).detach()
                watch.look(found, likelihood, None)
            if observe:
                observe(Progress(i + 1, moves, CLEAN, point.x, None))
        return Chains(found, watch.trace(), accepted)

    def _latent(self, denoiser: Denoiser, likelihood: Likelihood, x: Tensor, draws: Draws) -> Tensor:
        """About the z of a guided draw (B, …)."""
        warm = self.warm or usual_warm(likelihood)
        guided = warm.restore(denoiser, likelihood, x, self.start, draws.at("warm"))
        path = denoiser.path
        noisy = encode(denoiser, DDIM, guided, upwards(Karras()(path, _BACK)))
        return noisy / path.prior(noisy.new_ones(()))
