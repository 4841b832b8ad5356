"""Networks of a given number of parameters, so that models of different kinds can be compared at equal size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pushforward.errors import UserError


def count_parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def width_for(build: Callable[[int], nn.Module], parameters: int) -> int:
    """The largest width whose network has at most so many parameters; `build(width)` makes it.

    The random state is left as it was. Raises UserError where even width 1 is too large.
    """
    with torch.random.fork_rng(devices=[]):

        def size(width: int) -> int:
            return count_parameters(build(width))

        smallest = size(1)
        if smallest > parameters:
            raise UserError(
                f"{parameters:,} parameters were asked for, but the smallest model of this kind has {smallest:,}; "
                "allow more, or fewer layers."
            )
        high = 2
        while size(high) <= parameters:
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if size(middle) <= parameters else (low, middle)
    return low
