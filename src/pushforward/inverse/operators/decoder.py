"""A decoder as an operator, so that what measures items measures latents: A ∘ D."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.inverse.operators.operator import Operator, Shape


@dataclass(frozen=True, eq=False)
class Decoder(Operator):
    """x = D(z) for a differentiable decoder; z = E(x) in the place of a pseudo-inverse, which holds as D ∘ E is near 1.

    Computed in the decoder's own precision and on its device, and returned in those of z.

    Args:
        decode, encode: (B, *shape) -> (B, …) and back.
        shape: of one latent.
        like: a tensor on the device and in the dtype in which the two compute.
    """

    decode: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    shape: Shape
    like: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.decode(x.to(self.like)).to(x)

    def pseudo_inverse(self, y: Tensor, near: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            return self.encode(y.to(self.like)).to(y)

    @property
    def x_shape(self) -> Shape:
        return self.shape

    @property
    def x_complex(self) -> bool:
        return False

    @property
    def y_complex(self) -> bool:
        return False

    def to(self, device: torch.device | str) -> Decoder:
        """Itself: the decoder stays where it is."""
        return self
