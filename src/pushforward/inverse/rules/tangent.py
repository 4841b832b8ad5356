"""A prior's mean at a state with its derivative there: what every rule of guidance is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.inverse.rules.variance import VarianceLaw
from pushforward.inverse.solve import squares
from pushforward.numerics.broadcast import Scalar, choose, expand
from pushforward.paths.gaussian import Level

_FAR = 10.0
"""Lengths of r_t² v. Correlated data carry v along up to d times as far; a rule that follows overshoots by as much."""


class Tangent:
    """m = E[x_0 | x_t] at a state, and products with J = ∂m/∂x_t: one evaluation, one backward pass per product.

    Where α = 0 the state says nothing of x_0: J = 0 there, and in its place Cov[x_0 | x_t] is taken as r_t² I.
    `differentiable` asks for a mean and products that are themselves functions of a state that takes gradients.
    """

    def __init__(
        self,
        prior: Denoiser,
        x: Tensor,
        level: Level,
        variance: VarianceLaw,
        gradients: bool = True,
        differentiable: bool = False,
    ) -> None:
        self.x, self.level, self.variance = x, level, variance(level)
        self._output = self._state = x
        self._differentiable = differentiable
        if not gradients or is_zero(level.alpha):
            with torch.set_grad_enabled(differentiable):
                self.mean = prior.estimate(x, level).mean
            return
        # Gradients are needed even where the caller has switched them off, and tensors made in inference mode cannot
        # take part in them: the state is copied to an ordinary tensor.
        with torch.enable_grad():
            self._state = x if differentiable else x.detach().clone().requires_grad_()
            self._output = prior.estimate(self._state, _ordinary(level)).mean
        self.mean = self._output if differentiable else self._output.detach()

    def pull(self, v: Tensor, last: bool = False) -> Tensor:
        """Jᵀ v: (B, …) -> (B, …). After the `last` product the graph is given back."""
        if not self._output.requires_grad:
            return torch.zeros_like(v)
        kept = self._differentiable
        return torch.autograd.grad(self._output, self._state, v, retain_graph=kept or not last, create_graph=kept)[0]

    def covariance(self, v: Tensor, last: bool = False) -> Tensor:
        """Cov[x_0 | x_t] v = (σ²/α) Jᵀ v, by Tweedie's second formula: (B, …) -> (B, …)."""
        alpha, sigma = self.level.alpha, self.level.sigma
        if is_zero(alpha):
            return expand(self.variance, v) * v
        if not isinstance(alpha, Tensor) or bool((alpha > 0).all()):
            return expand(sigma**2 / alpha, v) * self.pull(v, last)
        seen = alpha > 0
        factor = torch.where(seen, sigma**2 / torch.where(seen, alpha, 1), 0)
        unseen = torch.where(seen, 0.0, torch.as_tensor(self.variance, dtype=alpha.dtype, device=alpha.device))
        return expand(factor, v) * self.pull(v, last) + expand(unseen, v) * v

    def trusted(self, v: Tensor, last: bool = False) -> Tensor:
        """Cov[x_0 | x_t] v where it is no more than ten lengths of r_t² v away from r_t² v, and r_t² v elsewhere.

        A trained network's derivative is off by (σ/(α σ_d)) ε of r_t² where its output is off by ε: at high noise that
        is no covariance, and draws that follow it never come back.
        """
        carried, isotropic = self.covariance(v, last), expand(self.variance, v) * v
        near = squares(carried - isotropic) <= _FAR**2 * squares(isotropic)
        return choose(near, carried, isotropic)


def is_zero(value: Scalar) -> bool:
    """Whether it is 0 for the whole batch, as a float says it."""
    return not isinstance(value, Tensor) and value == 0


def _ordinary(level: Level) -> Level:
    """The level with its tensors, if any, copied to ones that gradients may be taken through."""
    return Level(*(v.clone() if isinstance(v, Tensor) else v for v in (level.t, level.alpha, level.sigma)))
