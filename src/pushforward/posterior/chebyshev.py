"""√(I − M) v by a polynomial in M, where M can only be applied."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
_NOISE = 3e-14
"""Coefficients below this are rounding of the interpolation."""


def root_of_rest(apply: Map, v: Tensor, most: float) -> Tensor:
    """√(I − M) v for a symmetric M with its spectrum in [0, most], most < 1: v (B, …) -> (B, …).

    Chebyshev's series of √(1 − t) converges at a rate of 1.9 per product where most = 0.9; it is cut where it has
    reached the rounding of v. `apply` is M.
    """
    coefficients = _coefficients(most, float(torch.finfo(v.dtype).eps))

    def centred(u: Tensor) -> Tensor:
        return (2 / most) * apply(u) - u

    before, now = v, centred(v)
    total = coefficients[0] * v + coefficients[1] * now
    for c in coefficients[2:]:
        before, now = now, 2 * centred(now) - before
        total = total + c * now
    return total


@lru_cache(maxsize=16)
def _coefficients(most: float, rounding: float) -> tuple[float, ...]:
    """Of √(1 − t) on [0, most] in Chebyshev polynomials of 2t/most − 1."""
    series = np.polynomial.chebyshev.Chebyshev.interpolate(lambda t: np.sqrt(1 - t), 400, domain=[0, most])
    small = np.abs(series.coef) < max(rounding, _NOISE)
    return tuple(float(c) for c in series.coef[: max(2, int(small.argmax()) if small.any() else len(series.coef))])
