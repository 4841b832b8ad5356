"""Linear maps that are given with their adjoints: each is the other's derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Pair(torch.autograd.Function):
    """A linear map with a given adjoint, differentiable any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ahead: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.ahead, ctx.back = ahead, back
        return ahead(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return with_adjoint(gradients[0], ctx.back, ctx.ahead), None, None


def with_adjoint(x: Tensor, ahead: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
    """ahead(x), whose derivative is taken by `back`, its adjoint."""
    result: Tensor = _Pair.apply(x, ahead, back)
    return result
