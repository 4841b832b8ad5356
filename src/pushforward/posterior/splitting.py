"""Noise splitting: y seen through z = x + ρε, so that x given z is the prior's own and z given x is Gaussian.

For y = A x + n, n ~ N(0, Σ), put z = x + ρε and y = A z + n′ with n′ ~ N(0, Σ − ρ²AA*). Then y given x is exactly
N(A x, Σ), whatever ρ with ρ²AA* ≼ Σ, and

    z | x, y ~ N(x + ρ²A*Σ⁻¹(y − A x), ρ²(I − ρ²A*Σ⁻¹A)),      x | z, y = x | z.

Drawing one after the other is a Gibbs sampler whose invariant law is p(x | y) itself. Splittings that keep Σ as the
noise of z (Xu & Chi 2024; Wu et al. 2024) sample under the noise Σ + ρ²AA* instead.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood, normal_like
from pushforward.inverse.operators.operator import LinearOperator, Shape
from pushforward.inverse.operators.singular import SingularSystem
from pushforward.inverse.solve import squares
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.posterior.bridge import Bridge, Moved, require_noise
from pushforward.posterior.chebyshev import root_of_rest
from pushforward.posterior.reverse import Reverse

MARGIN = 0.95
"""ρ‖A‖/σ by default: at 1 the noise of z would vanish along the best measured direction, and with it all mixing."""


class Seen(NamedTuple):
    """The residual in singular coordinates, U*y − s V*x, and the square of what no x explains; or y − A x alone."""

    residual: Tensor
    rest: Tensor


class Splitting(Bridge):
    """The bridge of Gaussian noise on a linear operator; its heat is ρ, and every move is accepted.

    Where ρ‖A‖ > `MARGIN`·σ the likelihood is that of more noise: max(σ, ρ s/`MARGIN`) along each singular vector where
    there is a singular system, so that well measured components cool last; else max(σ, ρ‖A‖/`MARGIN`) for all.
    Raises UserError for σ = 0, noise that is not Gaussian and operators that are not linear.
    """

    def __init__(self, likelihood: Likelihood, shape: Shape, margin: float = MARGIN) -> None:
        gaussian = split_likelihood(likelihood)
        self.gaussian, self.margin = gaussian, margin
        self.operator: LinearOperator = gaussian.linear
        self.system: SingularSystem | None = self.operator.svd(shape)
        self.sigma = torch.as_tensor(gaussian.sigma, dtype=torch.float64, device=gaussian.y.device)
        self.norm = _norm(self.operator, shape).to(self.sigma.device)
        self.last = torch.as_tensor(margin * self.sigma / self.norm, dtype=torch.float64)
        self._kept: Seen | None = None

    def first(self, deviation: float) -> Tensor:
        return torch.clamp(self.last, min=deviation)

    def seen(self, x: Tensor) -> Seen:
        if self.system is None:
            residual = self.gaussian.residual(x)
            return Seen(residual, torch.zeros(len(x), dtype=torch.float64, device=x.device))
        if self._kept is None or self._kept.residual.real.dtype != x.real.dtype:
            self._kept = self._measured(x)
        return Seen(
            self._kept.residual - self.system.values(self._kept.residual) * self.system.v.adjoint(x), self._kept.rest
        )

    def _measured(self, x: Tensor) -> Seen:
        """U*y where s > 0, and ‖y − U U*y‖²: what does not change with x."""
        assert self.system is not None
        y = self.gaussian.given(self.operator(x))
        y = y.expand(self.operator.items or len(y), *y.shape[1:])
        part = self.system.u.adjoint(y)
        part = torch.where(self.system.values(part) > 0, part, 0)
        return Seen(part, squares(y - self.system.u(part)).double())

    def log_prob(self, seen: Seen, heat: Tensor) -> Tensor:
        residual = seen.residual
        noise = self._noise(residual, heat)
        kept = torch.ones_like(residual.real) if self.system is None else (self.system.values(residual) > 0)
        kept = self.gaussian.operator.measured(kept) if self.system is None else kept.expand_as(residual)
        parts = 2 if residual.is_complex() else 1
        log_noise = parts * (kept * noise.log()).expand_as(kept).flatten(1).sum(1)
        count, total = parts * kept.flatten(1).sum(1).double(), self.gaussian.count().to(residual.device)
        beyond = (total - count) * self.sigma.log() + 0.5 * total * math.log(2 * math.pi)
        return -0.5 * (squares(residual / noise) + seen.rest / self.sigma**2) - log_noise - beyond

    def move(self, reverse: Reverse, x: Tensor, heat: Tensor, scale: Tensor, draws: Draws) -> Moved:
        z = self.noisy(x, heat, draws.at("split"))
        accepted = torch.ones(len(x), dtype=torch.float64, device=x.device)
        return Moved(reverse(z, heat, draws.at("reverse")), accepted)

    def noisy(self, x: Tensor, rho: Tensor, draws: Draws) -> Tensor:
        """A draw of z | x, y at the level ρ, () or (B,): (B, …)."""
        xi = normal_like(x, draws)
        if self.system is None:
            return self._noisy_without_system(x, rho, xi)
        residual = self.seen(x).residual
        noise, s = self._noise(residual, rho), self.system.values(residual)
        level = expand(rho.to(residual.real.dtype), residual.real)
        pull = level**2 * s / noise**2 * residual
        along = (torch.sqrt(torch.clamp(1 - (level * s / noise) ** 2, min=0)) - 1) * self.system.v.adjoint(xi)
        return x + self.system.v(pull + level * along) + expand(rho, x.real) * xi

    def _noisy_without_system(self, x: Tensor, rho: Tensor, xi: Tensor) -> Tensor:
        residual = self.gaussian.residual(x)
        noise = self._noise(residual, rho)
        pull = expand(rho, x.real) ** 2 * self.operator.adjoint(residual / noise**2)
        ratio = torch.as_tensor(rho / self._level_noise(rho), device=x.device) ** 2
        spread = root_of_rest(
            lambda v: expand(ratio, v.real) * self.operator.adjoint(self.operator(v)), xi, self.margin**2
        )
        return x + pull + expand(rho, x.real) * spread

    def _level_noise(self, rho: Tensor) -> Tensor:
        """max(σ, ρ‖A‖/margin), () or (B,): one deviation for all of y."""
        return torch.maximum(self.sigma, rho.to(self.sigma) * self.norm / self.margin)

    def _noise(self, like: Tensor, rho: Tensor) -> Tensor:
        """The deviation of each coordinate at this level, broadcastable to `like`, of its precision."""
        real = like.real
        if self.system is None:
            return torch.as_tensor(expand(self._level_noise(rho), real), dtype=real.dtype)
        s = self.system.values(like)
        level = torch.as_tensor(expand(rho, real), dtype=real.dtype, device=real.device)
        sigma = torch.as_tensor(expand(self.sigma, real), dtype=real.dtype, device=real.device)
        return torch.maximum(sigma, level * s / self.margin)


def split_likelihood(likelihood: Likelihood) -> Gaussian:
    """The likelihood with white noise. Raises UserError where noise splitting has no answer to it."""
    if not isinstance(likelihood, Gaussian) or not isinstance(likelihood.operator, LinearOperator):
        raise UserError(
            "noise splitting is for Gaussian noise on a linear operator: for others the moves need a Metropolis test"
        )
    require_noise(likelihood)
    return likelihood.whitened()


def _norm(operator: LinearOperator, shape: Shape) -> Tensor:
    """‖A‖ of each item: () where all are alike, or (B,)."""
    norm = operator.norms(shape)
    if not bool((norm > 0).all()):
        raise UserError("this operator measures nothing: it is zero everywhere")
    return norm[0] if len(norm) == 1 else norm
