"""What an estimator gives back, in the form of what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np


def squeezed(values: np.ndarray, single: bool = True) -> np.ndarray:
    """Without the last axis where there is one response."""
    return values[..., 0] if single and values.shape[-1] == 1 else values


def like(x: Any, columns: dict[str, np.ndarray]) -> Any:
    """A table of the type of x, with its index where it has one; the columns themselves where x is an array."""
    if not hasattr(x, "columns"):
        return columns
    index = getattr(x, "index", None)
    make = cast(Callable[..., Any], type(x))
    return make(columns) if index is None else make(columns, index=index)
