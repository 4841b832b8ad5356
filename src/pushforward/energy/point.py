"""A place on an unnormalised density: where, how high, how steep. Every chain is made of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.errors import NumericalError, UserError
from pushforward.numerics.broadcast import expand


class Point(NamedTuple):
    """x (B, …), log γ(x) (B,) and ∇ log γ(x) (B, …), without gradients of their own."""

    x: Tensor
    value: Tensor
    score: Tensor


Target = Callable[[Tensor], Point]
"""An unnormalised density, evaluated: (B, …) -> Point."""


def target_of(log_density: Callable[[Tensor], Tensor]) -> Target:
    """A target from log γ, minus an energy for instance: (B, …) -> (B,), differentiated automatically.

    Raises UserError where log γ gives another shape than one number per sample.
    """

    def target(x: Tensor) -> Point:
        # Whoever samples has often turned gradients off; here they are needed, by x alone.
        with torch.inference_mode(False), torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            value = log_density(at)
            if value.shape != x.shape[:1]:
                raise UserError(
                    f"a log-density gives one number per sample, shape ({len(x)},); this gave {tuple(value.shape)}"
                )
            score = torch.autograd.grad(value.sum(), at)[0] if value.requires_grad else torch.zeros_like(at)
        return Point(at.detach(), value.detach(), score)

    return target


def checked(point: Point, where: str) -> Point:
    """The same point. Raises NumericalError where a chain would start from a density that is not finite."""
    fine = point.value.isfinite() & point.score.flatten(1).isfinite().all(1)
    if not bool(fine.all()):
        raise NumericalError(f"the log-density of {int((~fine).sum())} of {len(fine)} samples is not finite {where}")
    return point


def chosen(accept: Tensor, new: Point, old: Point) -> Point:
    """Sample by sample the new point where `accept` (B,), else the old one."""
    mask = accept.reshape(-1, *(1,) * (old.x.ndim - 1))
    return Point(
        torch.where(mask, new.x, old.x),
        torch.where(accept, new.value, old.value),
        torch.where(mask, new.score, old.score),
    )


def along(point: Point, scale: Tensor | float) -> Tensor:
    """scale · ∇ log γ with one scale for all or one per sample."""
    return expand(scale, point.x) * point.score
