"""What is known of discrete data: for each site a law of its symbol given everything else, and all that follows of it.

By Bayes' rule p(x_0^d | x_t) ∝ g^d(x_0^d) q(x_t^d | x_0^d), where g^d is the law of site d given the *other* sites of
x_t. The estimate is log g, called `outside`. From it come, without a division by transition probabilities,

    p(x_0 | x_t),     p_s(y) ∝ Σ_{x_0} g(x_0) q_s(y | x_0),     R̂(x, y) = R_t(y, x) p_t(y)/p_t(x),

the posterior, the marginal of one site at any other time, and the rates of the reversed chain (Campbell et al. 2022,
proposition 1; the ratio is the concrete score of Lou et al. 2024). For the absorbing chain it is the parametrisation
called SUBS by Sahoo et al. 2024: a site that is seen is copied, the mask is never an answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, batch_of, expand
from pushforward.paths.gaussian import Level
from pushforward.paths.jump import JumpPath

_TINY = 1e-9
"""Added to transition probabilities where a network's answer is divided by them (the authors' `eps_ratio`)."""


@dataclass(frozen=True, eq=False)
class CategoricalEstimate:
    """`outside` (B, …, symbols) at x (B, …) of a level, up to a constant per site."""

    path: JumpPath
    x: Tensor
    level: Level
    outside: Tensor

    @property
    def probabilities(self) -> Tensor:
        """p(x_0 | x_t), each site by itself: (B, …, symbols)."""
        return torch.exp(self.log_probabilities)

    @property
    def log_probabilities(self) -> Tensor:
        seen = torch.log(self.path.likelihood(self.x, self.level)).to(self.outside)
        return torch.log_softmax(self.outside + seen, -1)

    def marginal(self, level: Level) -> Tensor:
        """p_s(y), the law of each site at another level given the other sites, up to a constant: (B, …, states)."""
        weights = torch.softmax(self.outside, -1)
        return self.path.generator.push(weights, self.path.total(level))

    @property
    def ratios(self) -> Tensor:
        """p_t(y)/p_t(x) of each site: (B, …, states), 1 at x."""
        law = self.marginal(self.path.inside(self.level))
        here = law.gather(-1, self.x.unsqueeze(-1))
        return law / here.clamp(min=torch.finfo(law.dtype).tiny)

    @property
    def reverse_rates(self) -> Tensor:
        """R̂(x, y) of the chain that runs back, 0 at x, float64: (B, …, states)."""
        rates = self.path.generator.into(self.x)
        return expand(self.path.speed(self.path.inside(self.level)), rates) * rates * self.ratios.to(rates)


class JumpDenoiser(ABC):
    """Anything that estimates discrete x_0 from x_t on its path: a network, an exact table, a wrapper of another.

    `timeless`: the estimate does not depend on the level, so that it can be kept while the state stays the same.
    """

    path: JumpPath
    timeless: bool = False

    @abstractmethod
    def outside(self, x: Tensor, level: Level) -> Tensor:
        """log g given x: int64 (B, …) at a level of `path` -> (B, …, symbols)."""

    def estimate(self, x: Tensor, level: Level) -> CategoricalEstimate:
        """The estimate given x: (B, …) at a level."""
        return CategoricalEstimate(self.path, x, level, self.outside(x, level))

    def __call__(self, x: Tensor, t: Scalar | Level) -> CategoricalEstimate:
        """As `estimate`, for a time, one time per sample (B,), or a Level."""
        return self.estimate(x, self.path.level(t))

    def rows(self, index: Tensor) -> JumpDenoiser:
        """This denoiser for some of the samples of its batch, int64 (b,)."""
        return self


@dataclass(frozen=True, eq=False)
class NetworkJumpDenoiser(JumpDenoiser):
    """A network net(x, time, label) -> (B, …, symbols), read as log g, or (`direct`) as log p(x_0 | x_t).

    The time that it is given is 6t − 3, in the range that networks' features of time tell apart; a `timeless` one is
    given 0. Read directly, log g = log p − log q(x_t | x_0): as published, with 1e-9 beside q.
    """

    path: JumpPath
    network: nn.Module
    timeless: bool = False
    direct: bool = False
    label: Tensor | None = None

    def outside(self, x: Tensor, level: Level) -> Tensor:
        time = 0.0 if self.timeless else 6 * level.t - 3
        logits = self.network(x, batch_of(time, len(x), x.device), self.label)
        if not self.direct:
            return logits
        return torch.log_softmax(logits, -1) - torch.log(self.path.likelihood(x, level) + _TINY).to(logits)

    def given(self, label: Tensor | None) -> NetworkJumpDenoiser:
        """This denoiser with a label per sample (B,) bound."""
        return replace(self, label=label)

    def rows(self, index: Tensor) -> NetworkJumpDenoiser:
        return self if self.label is None else replace(self, label=self.label[index])


@dataclass(frozen=True, eq=False)
class GuidedJumps(JumpDenoiser):
    """log g = log g_u + w (log g_c − log g_u): classifier-free guidance of tokens; w = 1 is plain.

    Each is normalised per site before (Nisonoff et al. 2024, Schiff et al. 2024).
    """

    conditional: JumpDenoiser
    unconditional: JumpDenoiser
    weight: float

    def __post_init__(self) -> None:
        if self.conditional.path != self.unconditional.path:
            raise UserError("guidance needs two denoisers on the same path; these have different ones")

    @property
    def path(self) -> JumpPath:  # type: ignore[override]
        return self.conditional.path

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        return self.conditional.timeless and self.unconditional.timeless

    def outside(self, x: Tensor, level: Level) -> Tensor:
        one, other = (torch.log_softmax(d.outside(x, level), -1) for d in (self.conditional, self.unconditional))
        never = torch.isneginf(one) | torch.isneginf(other)  # where the difference would be no number
        return torch.where(never, -torch.inf, other + self.weight * (one - other))

    def rows(self, index: Tensor) -> GuidedJumps:
        return replace(self, conditional=self.conditional.rows(index), unconditional=self.unconditional.rows(index))


@dataclass(frozen=True, eq=False)
class Tempered(JumpDenoiser):
    """log g / temperature: below 1 the likelier symbols, at the price of variety."""

    inner: JumpDenoiser
    temperature: float

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"a temperature must be above 0; got {self.temperature}")

    @property
    def path(self) -> JumpPath:  # type: ignore[override]
        return self.inner.path

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        return self.inner.timeless

    def outside(self, x: Tensor, level: Level) -> Tensor:
        return self.inner.outside(x, level) / self.temperature

    def rows(self, index: Tensor) -> Tempered:
        return replace(self, inner=self.inner.rows(index))
