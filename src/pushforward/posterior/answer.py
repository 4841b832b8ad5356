"""The answer to an inverse problem: draws of p(x | y), what they say, and what they may not be asked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.errors import NumericalError, UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.posterior.diagnostics import MIXED, effective_size, split_rhat, weight_size
from pushforward.posterior.quantiles import order_quantile, weighted_quantile


class Interval(NamedTuple):
    """The central interval of each value: (B, …)."""

    low: Tensor
    high: Tensor

    def holds(self, x: Tensor) -> Tensor:
        """Where x lies within: bool, of the shape of x."""
        return (self.low <= x) & (x <= self.high)


class Misfit(NamedTuple):
    """χ² per measured number, averaged over the draws, (B,); and what a right posterior gives: 1 ± `deviation`.

    The deviation is that of one draw, √(2/m): the average over draws strays less, so |z| > 3 is a finding.
    """

    value: Tensor
    deviation: Tensor

    @property
    def z(self) -> Tensor:
        """How many deviations from 1: (B,)."""
        return (self.value - 1) / self.deviation


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of p(x | y) for B measurements, in the units of the prior.

    samples (S, B, …); `log_weights` (S, B) where draws do not count alike, normalised over S; `evaluations` of the
    network per draw; `sigma` (S, B) where the noise level was drawn too. `trace` (sweeps, S, B, Q) are the numbers that
    were watched of each chain, `accepted` (S, B) the acceptance of tested moves, `log_evidence` (B,) log p(y) where the
    method knows it. Raises UserError for other shapes, NumericalError for draws or weights that are not finite.
    """

    samples: Tensor
    evaluations: float
    likelihood: Likelihood | None = None
    log_weights: Tensor | None = None
    sigma: Tensor | None = None
    trace: Tensor | None = None
    accepted: Tensor | None = None
    log_evidence: Tensor | None = None

    def __post_init__(self) -> None:
        if self.samples.ndim < 3 or len(self.samples) < 1:
            raise UserError(f"a posterior holds samples (S, B, …); got the shape {tuple(self.samples.shape)}")
        lost = ~torch.isfinite(self.samples)
        if bool(lost.any()):
            items = lost.transpose(0, 1).flatten(1).any(1)
            raise NumericalError(
                f"draws of {int(items.sum())} of {len(items)} items are not finite: the model, or the method with so "
                "many evaluations, has diverged"
            )
        if self.log_weights is not None:
            self._check_weights(self.log_weights)

    def _check_weights(self, log_weights: Tensor) -> None:
        if log_weights.shape != self.samples.shape[:2]:
            raise UserError(
                f"weights are one per draw, {tuple(self.samples.shape[:2])}; got the shape {tuple(log_weights.shape)}"
            )
        best = log_weights.amax(0)  # −∞ is a draw that is impossible; nan is kept by the maximum
        if not bool(torch.isfinite(best).all()):
            raise NumericalError(
                f"the weights of {int((~torch.isfinite(best)).sum())} of {len(best)} items are not finite: none of "
                "their draws explains the measurement"
            )

    @property
    def size(self) -> int:
        """S, the number of draws of each item."""
        return len(self.samples)

    @property
    def mean(self) -> Tensor:
        """E[x | y]: (B, …)."""
        return (self._weights(self.samples) * self.samples).sum(0)

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each value, what the model is unsure of: (B, …).

        Raises UserError for one draw, or weights that are worth no more.
        """
        if self.size < 2:
            raise UserError("one draw says nothing of the uncertainty: ask for at least two samples")
        if self.log_weights is not None and float(weight_size(self.log_weights).min()) < 1 + 1e-6:
            raise UserError(
                "the weights of an item are worth one draw, which says nothing of the uncertainty: ask for more "
                "samples, or for a method whose draws count alike"
            )
        weights = self._weights(self.samples)
        spread = (weights * (self.samples - self.mean).abs().square()).sum(0)
        lost = 1 - weights.square().sum(0)  # what weighted draws miss of the variance: 1 − 1/S for equal ones
        return (spread / lost).sqrt()

    @property
    def worth(self) -> int:
        """How many draws that count alike there are of each item, at least: S, or what the weights are worth."""
        if self.log_weights is None:
            return self.size
        return int(float(weight_size(self.log_weights).min()) + 1e-6)

    @property
    def effective(self) -> Tensor:
        """How many independent draws these are worth, for each item: (B,), at most S.

        Weights count by 1/Σw², the last states of chains by the share of the variance that they have come to agree on,
        1/R̂².
        """
        size = torch.full((self.samples.shape[1],), float(self.size), dtype=torch.float64)
        if self.log_weights is not None:
            size = weight_size(self.log_weights).cpu()
        rhat = self.rhat
        return size if rhat is None else size / rhat.clamp(min=1).cpu() ** 2

    @property
    def rhat(self) -> Tensor | None:
        """Split-R̂ of the chains of each item, the largest of what was watched: (B,); None without chains."""
        if self.trace is None or len(self.trace) < 4 or self.size < 2:
            return None
        return split_rhat(self.trace).amax(-1)

    @property
    def sweeps_worth(self) -> Tensor | None:
        """The effective number of states of all chains of an item together, the least of what was watched: (B,)."""
        if self.trace is None or len(self.trace) < 4 or self.size < 2:
            return None
        return effective_size(self.trace).amin(-1)

    @property
    def mixed(self) -> Tensor | None:
        """Whether the chains of each item have come to one law: (B,); None where there are none to tell by."""
        rhat = self.rhat
        return None if rhat is None else rhat < MIXED

    def quantile(self, q: float) -> Tensor:
        """The q-quantile of each value, so that the truth lies below it in a share q of all cases: (B, …).

        The rank is (S + 1) q: with few draws the usual (S − 1) q + 1 is too narrow. Raises UserError where S, or what
        weights are worth, is too small for q, and for complex draws.
        """
        if self.samples.is_complex():
            raise UserError("a quantile is of real numbers: ask for those of the draws' real and imaginary parts")
        if not 0 < q < 1:
            raise UserError(f"a quantile lies between 0 and 1; got {q}")
        tail = min(q, 1 - q)
        needed = math.ceil(1 / tail - 1 - 1e-9)
        if self.worth < needed:
            worth = "" if self.log_weights is None else " (what the weighted ones are worth)"
            raise UserError(
                f"the {q:g}-quantile needs at least {needed} draws, and there are {self.worth}{worth}: draw more "
                "samples, or ask for a quantile nearer to the middle"
            )
        if self.log_weights is None:
            return order_quantile(self.samples, q)
        return weighted_quantile(self.samples, self.log_weights, q)

    def interval(self, level: float = 0.9) -> Interval:
        """The central interval that holds each value of the truth with probability `level`."""
        if not 0 < level < 1:
            raise UserError(f"the level of an interval lies between 0 and 1; got {level}")
        return Interval(self.quantile((1 - level) / 2), self.quantile((1 + level) / 2))

    def misfit(self) -> Misfit:
        """χ² of the draws' residuals against its expectation, 1. Raises UserError where noise is not Gaussian."""
        if not isinstance(self.likelihood, Gaussian):
            raise UserError("χ² is of Gaussian noise: for other likelihoods compare log p(y | x) of draws by ranks")
        values = []
        for j, draw in enumerate(self.samples):
            at = self.likelihood if self.sigma is None else replace(self.likelihood, sigma=self.sigma[j])
            values.append(at.chi2(draw).double())
        weights = self._weights(torch.stack(values))
        count = self.likelihood.count().to(values[0].device).expand(len(values[0]))
        return Misfit((weights * torch.stack(values)).sum(0), (2 / count).sqrt())

    def resampled(self) -> Posterior:
        """Equal weights: each draw as often as its weight says, by systematic resampling at the midpoint."""
        if self.log_weights is None:
            return self
        weights = self.log_weights.double().softmax(0)
        at = (torch.arange(self.size, dtype=torch.float64, device=weights.device) + 0.5) / self.size
        index = torch.searchsorted(weights.cumsum(0).T.contiguous(), at.expand(weights.shape[1], -1).contiguous())
        index = index.clamp(max=self.size - 1).T
        items = torch.arange(weights.shape[1], device=index.device)
        sigma = None if self.sigma is None else self.sigma[index, items]
        return replace(self, samples=self.samples[index, items], log_weights=None, sigma=sigma, trace=None)

    def _weights(self, like: Tensor) -> Tensor:
        """Weights that sum to 1 over the draws, shaped for `like` (S, B, …)."""
        if self.log_weights is None:
            shape = (self.size,) + (1,) * (like.ndim - 1)
            return torch.full(shape, 1 / self.size, dtype=like.real.dtype, device=like.device)
        weights = self.log_weights.double().softmax(0).to(like.real.dtype)
        return weights.reshape(*weights.shape, *(1,) * (like.ndim - 2))
