"""What the two players minimise, as functions of the discriminator's values on real and on generated items.

Every rule has two methods, both per pair of items, (B,) -> (B,), and both to be minimised:

    discriminator(real, fake)    real = D(x), fake = D(G(z))
    generator(real, fake)        `real` is looked at only where `paired` is true

The values are logits: they are not squashed. σ is the logistic function, softplus(u) = log(1 + eᵘ) = −log σ(−u).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor
from torch.nn.functional import relu, softplus


class Loss(Protocol):
    """A rule for both players."""

    paired: ClassVar[bool]
    """Whether the generator's loss looks at real values too."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises: (B,)."""
        ...

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the generator minimises: (B,)."""
        ...


@dataclass(frozen=True)
class Relativistic:
    """softplus(−(D(x) − D(G))) against softplus(−(D(G) − D(x))): only differences between pairs count.

    A generator that drops a part of the data is pulled back by the real items there, which is why this loss with both
    penalties converges locally (Jolicoeur-Martineau 2019; Huang et al. 2024, "R3GAN"). Both are log 2 where p = q.
    """

    paired: ClassVar[bool] = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(fake - real)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(real - fake)


@dataclass(frozen=True)
class Minimax:
    """min_G max_D E log σ(D(x)) + E log(1 − σ(D(G))) (Goodfellow et al. 2014); the best D is log p/q.

    The discriminator's loss is then log 4 − 2·JSD(p, q). The generator's gradient vanishes where D is sure.
    """

    paired: ClassVar[bool] = False

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real) + softplus(fake)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -softplus(fake)


@dataclass(frozen=True)
class NonSaturating:
    """The minimax discriminator; the generator minimises −E log σ(D(G)), whose gradient stays where D is sure."""

    paired: ClassVar[bool] = False

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real) + softplus(fake)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-fake)


@dataclass(frozen=True)
class LeastSquares:
    """½(D(x) − 1)² + ½D(G)² against ½(D(G) − 1)² (Mao et al. 2017); the best D is p/(p + q)."""

    paired: ClassVar[bool] = False

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square() + fake.square())

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square()


@dataclass(frozen=True)
class Hinge:
    """max(0, 1 − D(x)) + max(0, 1 + D(G)) against −D(G) (Lim & Ye 2017); at its best 2(1 − TV(p, q)).

    It has no penalty of its own: a discriminator with normalised spectra (`Spectral`) belongs to it.
    """

    paired: ClassVar[bool] = False

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real) + relu(1 + fake)

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake


@dataclass(frozen=True)
class Wasserstein:
    """D(G) − D(x) against −D(G) (Arjovsky et al. 2017): bounded only with a `GradientPenalty` or a Lipschitz D."""

    paired: ClassVar[bool] = False

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake
