"""The root of an increasing function v + a tanh(r v + c), which the simple residual flows need for their inverses."""

from __future__ import annotations

import torch
from torch import Tensor

_APART = 8
"""Steps between two looks at an accelerator, which has to be waited for; one more step changes no root."""


def tanh_root(z: Tensor, a: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """v with v + a tanh(r v + c) = z, elementwise, where 1 + a r > 0, so that there is exactly one.

    The root lies in [z − |a|, z + |a|]: Newton steps, halving the bracket where they leave it. The last step is
    differentiable and carries the gradient of the implicit function.
    """
    with torch.no_grad():
        low, high = z - a.abs(), z + a.abs()
        v = z - a * torch.tanh(r * z + c).clamp(-1, 1)
        apart = 1 if z.device.type == "cpu" else _APART
        for i in range(200):
            value, slope = _value_and_slope(v, a, r, c)
            excess = value - z
            low, high = torch.where(excess < 0, v, low), torch.where(excess > 0, v, high)
            step = v - excess / slope
            inside = (step > low) & (step < high)
            step = torch.where(inside, step, 0.5 * (low + high))
            near = (step - v).abs() <= 2 * torch.finfo(v.dtype).eps * v.abs()
            v = step
            if i % apart == apart - 1 and bool(near.all()):
                break
    value, slope = _value_and_slope(v, a, r, c)
    return v - (value - z) / slope


def _value_and_slope(v: Tensor, a: Tensor, r: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    bent = torch.tanh(r * v + c)
    return v + a * bent, 1 + a * r * (1 - bent * bent)
