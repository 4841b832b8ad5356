"""What a VAE descends: the negative evidence bound, with what is done to its divergence, or a tighter bound.

A bound maps a `Joint` to one loss per item, in nats. Outside of training it is the bound itself, so that validation
tells progress: no warm-up, no free bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.vae.joint import Joint


class Loss(NamedTuple):
    """What is descended, in nats (B,), and what else a log should tell of it, (B,) each, without gradients."""

    nats: Tensor
    figures: Mapping[str, Tensor]


class Bound(Protocol):
    """An upper bound of −log p(x) that is minimised."""

    def __call__(self, joint: Joint, draws: Draws, *, training: bool) -> Loss:
        """The loss of each item."""
        ...


@dataclass(frozen=True)
class Elbo:
    """−E_q log p(x | z) + β·KL(q(z | x) ‖ p(z)) with one draw of z (Kingma & Welling 2014; β: Higgins et al. 2017).

    Args:
        beta: weight of the divergence; at 1 the loss bounds −log p(x), above it still does, below it does not.
        warmup: items over which the weight rises from 0 to β: steps times batch size. An item's weight is a function
            of its number in the training, which is in its draws, so a resumed run is exact and nothing is stored.
        free_bits: nats per latent below which the divergence is not pushed (Kingma et al. 2016, eq. 15): each part
            counts max(its mean over the batch, free_bits·latents in it).
        held: where the divergence is log q(z) − log p(z) for want of a closed form, its gradient of less noise (see
            `Joint.terms`): the same in expectation, and not the derivative of the single draw's value.
    """

    beta: float = 1.0
    warmup: int = 0
    free_bits: float = 0.0
    held: bool = True

    def __post_init__(self) -> None:
        for name, value in (("beta", self.beta), ("warmup", self.warmup), ("free_bits", self.free_bits)):
            if not 0 <= value < math.inf:
                raise UserError(f"{name} of an evidence bound must be a number of at least 0; got {value}.")

    def __call__(self, joint: Joint, draws: Draws, *, training: bool) -> Loss:
        terms = joint.terms(draws, held=self.held and torch.is_grad_enabled())
        divergence = terms.divergence
        figures = {"log_likelihood": terms.log_likelihood.detach(), "divergence": divergence.detach().sum(1)}
        if training and self.free_bits:
            divergence = self._floored(divergence, joint.posterior.latent)
        weight = self.weight(draws.index) if training else self.beta
        return Loss(weight * divergence.sum(1) - terms.log_likelihood, figures)

    def weight(self, index: Tensor) -> Tensor | float:
        """β(n) of the items with these numbers (B,), counted from the start of the training."""
        if not self.warmup:
            return self.beta
        return self.beta * (index.to(torch.float32) / self.warmup).clamp(max=1.0)

    def _floored(self, divergence: Tensor, latent: int) -> Tensor:
        floor = self.free_bits * latent / divergence.shape[1]
        # the batch's mean decides, so its gradient is all or nothing: that of max(mean, floor)
        return torch.where(divergence.mean(0) > floor, divergence, divergence.new_full((), floor))


@dataclass(frozen=True)
class Importance:
    """−log (1/k) Σ_j w_j, w_j = p(x, z_j)/q(z_j | x): closer to −log p(x) with every draw (Burda et al. 2016).

    Value and gradient are both right: differentiating the logarithm of the mean weighs the draws by their normalised
    weights ŵ_j. With `doubly` the encoder's gradient is that of Tucker et al. (2019), Σ ŵ_j² ∂log w_j/∂z_j ∂z_j/∂φ: the
    same in expectation, and its noise does not drown it as k grows. With k = 1 it is that of Roeder et al. (2017).
    """

    samples: int = 5
    doubly: bool = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"An importance-weighted bound needs at least one draw; got {self.samples}.")

    def __call__(self, joint: Joint, draws: Draws, *, training: bool) -> Loss:
        numbers = range(self.samples)
        if not (self.doubly and torch.is_grad_enabled()):
            log_w = joint.log_weights(draws, numbers)
            return Loss(-log_mean(log_w), _figures(log_w))
        z, log_w = joint.held_log_weights(draws, numbers)
        share = torch.softmax(log_w.detach(), 0)
        # what reaches z is weighed a second time on its way to the encoder; the decoder and the prior are not
        z.register_hook(lambda gradient: gradient * share.reshape(-1, 1))
        value, carrier = log_mean(log_w.detach()), (share * log_w).sum(0)
        return Loss(-(value + carrier - carrier.detach()), _figures(log_w))


def log_mean(log_w: Tensor) -> Tensor:
    """log (1/k) Σ_j w_j: (k, B) -> (B,). Not the mean of the logarithms, which is the evidence bound whatever k is."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def _figures(log_w: Tensor) -> dict[str, Tensor]:
    """How many of the k draws count: 1/Σ ŵ_j²."""
    return {"effective_draws": 1 / torch.softmax(log_w.detach(), 0).square().sum(0)}
