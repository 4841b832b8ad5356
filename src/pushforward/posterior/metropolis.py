"""Any likelihood, exactly: the prior's own move, bent by the likelihood's slope, with a Metropolis test.

Extend p(x) ℓ(x) by z given x ~ N(x + g(x), ρ²I). A sweep draws z, proposes x′ from p(x′ | x′ + ρε = z), which is the
prior's reverse SDE, and accepts it with probability min(1, w(x′, z)/w(x, z)), where

    w(x, z) = ℓ(x) N(z; x + g(x), ρ²I)/N(z; x, ρ²I) = ℓ(x) exp(((z − x)·g − ½‖g‖²)/ρ²).

The prior's density is nowhere needed: it cancels, because the proposal is the conditional of the prior itself. With
g = 0 this is the preconditioned Crank-Nicolson move (Cotter et al. 2013) with a learned prior in place of a Gaussian;
with g = ρ²∇log ℓ the test sees only what is of second order in log ℓ, as in Langevin's. For Gaussian noise on a linear
operator the exact z of `Splitting` needs no test at all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.solve import dots, squares
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.posterior.bridge import Bridge, Moved, require_noise
from pushforward.posterior.reverse import Reverse


class MetropolisBridge(Bridge):
    """The bridge of any likelihood: ℓ(x; heat) = p(y | x)^β with β = 1/heat², so that Gaussian noise is heat·σ.

    `like` (B, …) are states of its chains; moves are scaled by ρ. Raises UserError for measurements without noise.
    """

    adapts = True

    def __init__(self, likelihood: Likelihood, like: Tensor, start: float = 30.0) -> None:
        require_noise(likelihood)
        self.likelihood, self.start = likelihood, start
        self.last = torch.ones(len(like), dtype=torch.float64, device=like.device)

    def first(self, deviation: float) -> Tensor:
        return self.start * self.last

    def seen(self, x: Tensor) -> Tensor:
        return self.likelihood.log_prob(x).double()

    def log_prob(self, seen: Tensor, heat: Tensor) -> Tensor:
        # 0 · ∞ is the flat end of the bridge, where nothing is impossible.
        return torch.where(heat.isinf(), 0.0, seen / heat**2)

    def move(self, reverse: Reverse, x: Tensor, heat: Tensor, scale: Tensor, draws: Draws) -> Moved:
        at = self._at(x, heat, scale)
        z = x + at.drift + expand(scale, x) * draws.at("split").normal_like(x)
        new = reverse(z, scale, draws.at("reverse"))
        proposed = self._at(new, heat, scale)
        gain = proposed.weight(z, new, scale) - at.weight(z, x, scale)
        # Where the chain itself is impossible, anything possible is an improvement; nan is refused.
        accepted = torch.where(gain.isnan(), torch.zeros_like(gain), gain.clamp(max=0).exp())
        taken = draws.at("accept").uniform((), torch.float64) < accepted
        return Moved(torch.where(taken.reshape(-1, *[1] * (x.ndim - 1)), new, x), accepted)

    def _at(self, x: Tensor, heat: Tensor, scale: Tensor) -> _At:
        beta = 1 / heat**2
        value = self.likelihood.log_prob(x).double() * beta
        slope = self.likelihood.gradient(x) * expand(beta * scale**2, x)
        slope = torch.where(torch.isfinite(slope), slope, 0)
        # No further than ρ in each direction on average: what is proposed may be any function of x.
        length = squares(slope).double().sqrt() / (scale * x[0].numel() ** 0.5)
        return _At(value, slope / expand(length.clamp(min=1), slope))


class _At(NamedTuple):
    """log ℓ, tempered (B,), and g (B, …)."""

    value: Tensor
    drift: Tensor

    def weight(self, z: Tensor, x: Tensor, rho: Tensor) -> Tensor:
        """log w(x, z): (B,)."""
        return self.value + (dots(z - x, self.drift) - 0.5 * squares(self.drift)).double() / rho**2
