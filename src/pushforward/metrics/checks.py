"""Samples as the metrics want them: a finite float64 matrix, one row per item."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pushforward.errors import UserError

Samples = Tensor | NDArray[np.generic]
"""Items along the first axis: (N, …), any real dtype."""


def matrix(x: Samples, name: str = "samples", least: int = 2) -> Tensor:
    """Items (N, …) as a float64 matrix (N, F) on the CPU.

    Raises UserError for fewer than `least` items and for values that are not finite.
    """
    if isinstance(x, Tensor):
        rows = x.detach().to("cpu", torch.float64)
    else:
        # A copy, since 16-bit pixels and read-only maps are not something torch can wrap.
        rows = torch.from_numpy(np.array(x, dtype=np.float64))
    if rows.ndim == 0 or len(rows) < least:
        found = 0 if rows.ndim == 0 else len(rows)
        raise UserError(f"A comparison needs at least {least} {name}, but was given {found}; draw or supply more.")
    rows = rows.reshape(len(rows), -1)
    bad = (~torch.isfinite(rows)).any(1).nonzero()[:, 0]
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(rows)} {name} hold NaN or infinite values (the first is item {int(bad[0])}); "
            "remove them, or look for what made them."
        )
    return rows


def pair(
    x: Samples, y: Samples, names: tuple[str, str] = ("samples", "reference items"), least: int = 2
) -> tuple[Tensor, Tensor]:
    """Two sets of items as matrices with the same number of columns; raises UserError where they differ."""
    a, b = matrix(x, names[0], least), matrix(y, names[1], least)
    if a.shape[1] != b.shape[1]:
        raise UserError(
            f"The {names[0]} have {a.shape[1]} values each "
            f"but the {names[1]} have {b.shape[1]}; compare like with like."
        )
    return a, b


def labels_of(labels: ArrayLike | Tensor, count: int, name: str) -> NDArray[np.int64]:
    """One integer per item: int64 (N,)."""
    array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"The {name} labels must be {count} integers, one per item, but are {array.dtype} of shape {array.shape}."
        )
    return array.astype(np.int64)


def check_predictive(truth: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truths (N,) and samples (N, S) as float64. Raises UserError for other shapes and values that are not finite."""
    y, x = np.asarray(truth, np.float64), np.asarray(samples, np.float64)
    if y.ndim != 1 or x.ndim != 2 or len(x) != len(y) or not x.size:
        raise UserError(
            f"predictive samples are (N, S) for N true responses; got samples of shape {x.shape} and truths of shape "
            f"{y.shape}"
        )
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise UserError("predictive samples and true responses must be finite numbers")
    return y, x
