"""Mixing of channels: colour to grey, and any other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.operators.operator import LinearOperator, Shape, of_as_many
from pushforward.inverse.operators.singular import SingularSystem


@dataclass(frozen=True, eq=False)
class ColourMix(LinearOperator):
    """y = M x over channels: (B, C, H, W) to (B, C', H, W), with M (C', C), or (B, C', C) for one per item."""

    mix: Tensor

    def __post_init__(self) -> None:
        if self.mix.ndim not in (2, 3) or not self.mix.is_floating_point() or not bool(torch.isfinite(self.mix).all()):
            raise UserError(
                f"a mix of colours is a matrix of finite floats (C', C), or one per item; got {tuple(self.mix.shape)}"
            )

    @property
    def items(self) -> int | None:
        return len(self.mix) if self.mix.ndim == 3 else None

    @property
    def per_item(self) -> tuple[str, ...]:
        return ("mix",) if self.mix.ndim == 3 else ()

    def __call__(self, x: Tensor) -> Tensor:
        return self._times(self.mix, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._times(self.mix.mT, y)

    @staticmethod
    def _times(mix: Tensor, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != mix.shape[-1]:
            raise UserError(
                f"a mix of {mix.shape[-1]} channels takes items ({mix.shape[-1]}, H, W), and {tuple(x.shape[1:])} was "
                "given"
            )
        of_as_many(len(mix) if mix.ndim == 3 else None, x)
        return (mix.to(x.device, x.dtype) @ x.flatten(2)).unflatten(2, x.shape[2:])

    def _svd(self, shape: Shape) -> SingularSystem:
        u, s, vh = torch.linalg.svd(self.mix.double(), full_matrices=False)
        s = s if s.ndim == 2 else s[None]
        return SingularSystem(ColourMix(u), s[..., None, None].expand(*s.shape, *shape[1:]), ColourMix(vh.mT))


def grey(channels: int = 3) -> ColourMix:
    """The mean of all channels: colourisation is its inverse problem."""
    if channels < 1:
        raise UserError(f"grey is the mean of at least one channel; got {channels}")
    return ColourMix(torch.full((1, channels), 1 / channels, dtype=torch.float64))
