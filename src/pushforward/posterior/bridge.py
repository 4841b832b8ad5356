"""A path of laws from the prior to the posterior, each with a move that leaves it invariant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.numerics.random import Draws
from pushforward.posterior.reverse import Reverse


class Moved(NamedTuple):
    """Where the chains are (B, …), and the probability (B,) with which each move was accepted."""

    x: Tensor
    accepted: Tensor


class Bridge(ABC):
    """p(x) ℓ(x; heat)/Z for heats from ∞, where ℓ is flat, down to `last`, where ℓ is the likelihood itself.

    Bound to a batch: row i is a chain of its own, with its own heat. Whoever anneals, and whoever weights samples on
    the way, needs nothing else of the measurement.
    """

    last: Tensor
    """The heat of the posterior, () or (B,), float64."""
    adapts: bool = False
    """Whether moves have a scale that should be fitted to their acceptance."""

    @abstractmethod
    def first(self, deviation: float) -> Tensor:
        """The heat from which to anneal chains that start near the posterior, for a prior of this deviation: (B,)."""

    @abstractmethod
    def seen(self, x: Tensor) -> Any:
        """What of x (B, …) the likelihood depends on, computed once for many heats."""

    @abstractmethod
    def log_prob(self, seen: Any, heat: Tensor) -> Tensor:
        """log ℓ(x; heat), in nats: (B,). At `last` it is log p(y | x)."""

    @abstractmethod
    def move(self, reverse: Reverse, x: Tensor, heat: Tensor, scale: Tensor, draws: Draws) -> Moved:
        """One move of every chain that leaves the law at its heat invariant; `scale` (B,) where the bridge adapts."""


def require_noise(likelihood: Likelihood) -> None:
    """Raises UserError for an exact measurement: its posterior has no density."""
    if isinstance(likelihood, Gaussian) and likelihood.exact:
        raise UserError(
            "an exact posterior needs noise, and this measurement has sigma = 0: there is no density to sample; give "
            "the noise that it has, or one far below what matters to you"
        )
