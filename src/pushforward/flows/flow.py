"""A flow: a base density seen through a bijection."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from pushforward.flows.bases import Base
from pushforward.flows.bijection import Bijection, Layer
from pushforward.flows.checks import check_base, check_batch, check_finite
from pushforward.numerics.random import Draws


class Scored(NamedTuple):
    """Samples (B, …) and their log-densities in nats (B,)."""

    x: Tensor
    log_prob: Tensor


class Flow(nn.Module):
    """log p(x) = log π(y) + log |det ∂y/∂x| with y = bijection(x): data to base is the bijection's forward direction.

    A condition is one vector per sample, (B, c). Wrap sampling in `torch.no_grad()` where no gradient is wanted: it is
    then also the faster algorithm of autoregressive layers.
    """

    def __init__(self, base: Base, bijection: Bijection) -> None:
        super().__init__()
        self.base, self.bijection = base, bijection

    def given(self, context: Tensor) -> Flow:
        """The flow under these conditions."""
        return Flow(self.base, self.bijection.given(context))

    def log_prob(self, x: Tensor, context: Tensor | None = None, draws: Draws | None = None) -> Tensor:
        """Log-densities in nats: (B, …) -> (B,). Raises UserError for what is no batch of finite numbers.

        With `draws` a log-determinant that is dear is estimated without bias (`Ode`); all others are exact anyway.
        """
        check_batch(x, self)
        check_finite(x, "input")
        z, log_det = self._given(context, draws).forward(x)
        check_base(z, self.base.shape)
        return self.base.log_prob(z) + log_det

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The same as `log_prob`, for what calls modules (compilation, several devices)."""
        return self.log_prob(x, context)

    def sample(self, draws: Draws, context: Tensor | None = None) -> Tensor:
        """One sample under each key: (B, …)."""
        return self._given(context).pull(self.base.sample(draws))

    def sample_and_log_prob(self, draws: Draws, context: Tensor | None = None) -> Scored:
        """Samples with their log-densities, for the price of the samples."""
        z = self.base.sample(draws)
        x, log_det = self._given(context).inverse(z)
        return Scored(x, self.base.log_prob(z) - log_det)

    def initialise(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the layers that are set from data (`ActNorm`) on this batch, once, before training.

        What is set is stored with the parameters. Nothing calls this silently.
        """
        check_batch(x, self)
        check_finite(x, "input")
        if isinstance(self.bijection, Layer):
            self.bijection.initialise(x, context)

    def _given(self, context: Tensor | None, draws: Draws | None = None) -> Bijection:
        if context is not None:
            check_finite(context, "condition")
        bijection = self.bijection if draws is None else self.bijection.drawn(draws)
        return bijection.given(context)
