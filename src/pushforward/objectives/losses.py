"""What a denoiser descends in training: the simple loss, the variational bound, or both together.

Each is a rule with the numbers that it needs; all are asked alike, so that a model holds one and knows no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.objectives.bound import Steps, bound_loss, hybrid_loss
from pushforward.objectives.decoders import Decoder
from pushforward.objectives.denoising import Trainable, denoising_loss
from pushforward.objectives.weighting import Weighting, output_weighting
from pushforward.paths.times import TimeLaw, Times
from pushforward.samplers.ancestral import FreshNoise

Observe = Callable[[Times, Tensor], None]
"""Is told the times that were drawn and the losses there, before importance weights."""


class Loss(Protocol):
    """A training loss of a denoiser: one random time per item, one call of the network."""

    def __call__(
        self,
        denoiser: Trainable,
        x0: Tensor,
        draws: Draws,
        law: TimeLaw,
        *,
        noise: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Tensor:
        """The loss of each x0 (B, …) at times of the law: (B,). `noise` is given where it depends on x0."""
        ...


@dataclass(frozen=True)
class SimpleLoss:
    """w(t)·|F − F*|², see `denoising_loss`."""

    weighting: Weighting = output_weighting

    def __call__(
        self,
        denoiser: Trainable,
        x0: Tensor,
        draws: Draws,
        law: TimeLaw,
        *,
        noise: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Tensor:
        return denoising_loss(denoiser, x0, draws, law, self.weighting, noise=noise, observe=observe)


@dataclass(frozen=True, eq=False)
class BoundLoss:
    """The variational bound over `steps`, see `bound_loss`; the law draws its terms, k/K.

    `variance` is what the steps were made with; the decoder follows the levels of the data.
    """

    steps: Steps
    variance: FreshNoise
    decoder: Decoder

    def __call__(
        self,
        denoiser: Trainable,
        x0: Tensor,
        draws: Draws,
        law: TimeLaw,
        *,
        noise: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Tensor:
        _check_own(noise)
        return bound_loss(
            denoiser, x0, draws, self.steps, variance=self.variance, decoder=self.decoder, law=law, observe=observe
        )


@dataclass(frozen=True, eq=False)
class HybridLoss(BoundLoss):
    """|F − F*|² + weight·(the bound, with the mean held fixed), see `hybrid_loss`: trains a learned variance."""

    weight: float = 1e-3

    def __call__(
        self,
        denoiser: Trainable,
        x0: Tensor,
        draws: Draws,
        law: TimeLaw,
        *,
        noise: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Tensor:
        _check_own(noise)
        return hybrid_loss(
            denoiser,
            x0,
            draws,
            self.steps,
            variance=self.variance,
            decoder=self.decoder,
            law=law,
            observe=observe,
            weight=self.weight,
        )


def _check_own(noise: Tensor | None) -> None:
    if noise is not None:
        raise UserError(
            "the variational bound is of noise that does not depend on the data: leave the coupling out, or descend "
            "the simple loss"
        )
