"""A posterior is a Denoiser that holds a Denoiser: the mean of the prior, corrected by what was measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.wrappers import Wrapper
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.rules.gains import is_linear
from pushforward.inverse.rules.tangent import Tangent, is_zero
from pushforward.inverse.rules.variance import VarianceLaw, law_of
from pushforward.numerics.broadcast import Scalar
from pushforward.paths.gaussian import Level


class Correction(ABC):
    """A rule that is one formula: E[x_0 | x_t, y] ≈ m + correction, m = E[x_0 | x_t] of the prior.

    By Tweedie's formula the correction is (σ²/α) ∇_x log p(y | x_t), so that every sampler, path and prediction has its
    right coefficients from it. A rule of one's own gives `correction`, and perhaps `prepared` and `gradients`.
    """

    @abstractmethod
    def correction(self, tangent: Tangent, likelihood: Likelihood) -> Tensor:
        """What is added to the mean: (B, …)."""

    @property
    def law(self) -> VarianceLaw | None:
        """r_t², where the rule has one of its own; by default that of isotropic data."""
        return None

    @property
    def gradients(self) -> bool:
        """Whether derivatives of the denoiser are asked for."""
        return True

    def prepared(self, likelihood: Likelihood) -> Likelihood:
        """The likelihood in the form the rule uses. Raises UserError where it has no answer to it."""
        return likelihood

    def __call__(self, denoiser: Denoiser, likelihood: Likelihood) -> Posterior:
        """The denoiser of p(x_0 | x_t, y)."""
        return Posterior(denoiser, self.prepared(likelihood), self, law_of(denoiser, self.law))


@dataclass(frozen=True, eq=False)
class Posterior(Wrapper):
    """E[x_0 | x_t, y] by a rule: one evaluation of the prior. Any Step on any grid samples it.

    It nests with conditions and classifier-free guidance in either order. Where σ = 0 it is the prior's own estimate.
    Where the state takes gradients, so does the estimate: the probability flow has its density, and a rule may stand
    on another's posterior. That needs a linear operator with Gaussian noise, of whose corrections every step has a
    derivative; UserError is raised for others.
    """

    likelihood: Likelihood
    rule: Correction
    variance: VarianceLaw

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        if is_zero(level.sigma):
            return self.inner.estimate(x, level)
        differentiable = torch.is_grad_enabled() and x.requires_grad
        if differentiable and not is_linear(self.likelihood):
            raise UserError(
                f"the estimate of {type(self.rule).__name__} has no derivative here, so it has no likelihood and no "
                "rule can stand on it: that needs a linear operator with Gaussian noise"
            )
        with torch.inference_mode(False), torch.set_grad_enabled(differentiable):
            tangent = Tangent(self.inner, x, level, self.variance, self.rule.gradients, differentiable)
            mean = tangent.mean + self.rule.correction(tangent, self.likelihood)
        return Estimate.of_mean(x, level, mean)

    def rows(self, index: Tensor) -> Posterior:
        return replace(self, inner=self.inner.rows(index), likelihood=self.likelihood.select(index))


def per_item(scalar: Scalar, like: Tensor) -> Tensor:
    """A number, or one per item, as a real tensor in the precision of `like`: () or (B,)."""
    return torch.as_tensor(scalar, dtype=like.real.dtype, device=like.device)
