"""A critic of patches that keeps reconstructions sharp, with a weight that adapts (Esser et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.gan.losses import Hinge, Loss

_MOST = 1e4
_HINGE = Hinge()


class Adversary(nn.Module):
    """A discriminator of patches, its rule, and when and how strongly it is listened to.

    The autoencoder descends rec + penalty + factor·λ·g with g the generator's loss and
    λ = ‖∇_w rec‖/(‖∇_w g‖ + 1e-4), at most 10⁴, w the decoder's last weight: so the two pull equally there, whatever
    their units.

    Args:
        discriminator: pictures (B, C, H, W) to values of patches (B, …).
        factor: of λ·g.
        start: share of the training after which it acts; before that neither player moves by it.
        rule: of the two players.
    """

    def __init__(self, discriminator: nn.Module, factor: float = 0.5, start: float = 0.5, rule: Loss = _HINGE) -> None:
        super().__init__()
        if not factor > 0 or not 0 <= start < 1:
            raise UserError(f"an adversary has a factor above 0 and starts at a share in [0, 1); got {factor}, {start}")
        if rule.paired:
            raise UserError(
                f"{type(rule).__name__} compares pairs of real and generated items: take Hinge, NonSaturating or "
                "another rule whose generator looks at its own items alone"
            )
        self.discriminator, self.factor, self.start, self.rule = discriminator, factor, start, rule

    def acts(self, progress: float) -> bool:
        """Whether it has begun, at this share of the training."""
        return progress >= self.start

    def told(self, x: Tensor, y: Tensor) -> Tensor:
        """What the discriminator descends on real items x and reconstructions y: (B,)."""
        real, fake = self.discriminator(x), self.discriminator(y.detach())
        return _mean(self.rule.discriminator(real.float(), fake.float()))

    def fooled(self, y: Tensor) -> Tensor:
        """g, what the autoencoder descends: (B,)."""
        values = self.discriminator(y).float()
        return _mean(self.rule.generator(torch.zeros_like(values), values))


def adaptive_weight(rec: Tensor, g: Tensor, last: Tensor) -> Tensor:
    """λ of the means of two losses (B,), by their gradients at `last`; detached."""
    pull = torch.autograd.grad(rec.mean(), last, retain_graph=True)[0].norm()
    push = torch.autograd.grad(g.mean(), last, retain_graph=True)[0].norm()
    return (pull / (push + 1e-4)).clamp(0, _MOST).detach()


def _mean(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).mean(1)
