"""The dtypes that data may have, and the ways between NumPy and torch that lose nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pushforward.errors import NumericalError

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
FLOATS = ("float16", "float32", "float64")
IMAGE_DTYPES = ("bool", *INTEGERS, *FLOATS)
COLUMN_DTYPES = IMAGE_DTYPES

_WIDER = {"uint16": np.int32, "uint32": np.int64, "uint64": np.float64}


def is_integer(dtype: str) -> bool:
    """Whether values of this dtype are counted (integers and truth values), so that decoding rounds."""
    return dtype not in FLOATS


def as_tensor(values: np.ndarray) -> Tensor:
    """A CPU tensor with the same numbers; shares memory where torch can hold the dtype and may write to it."""
    wider = _WIDER.get(values.dtype.name)
    values = np.ascontiguousarray(values if wider is None else values.astype(wider))
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def mean_and_deviation(values: np.ndarray, chunk: int = 1 << 20) -> tuple[np.ndarray, np.ndarray]:
    """Per column in float64, in two passes over (N, D), without a float64 copy of the whole."""
    rows = max(1, chunk // max(1, values.shape[1]))
    parts = [slice(start, start + rows) for start in range(0, len(values), rows)]
    mean = sum(values[part].sum(axis=0, dtype=np.float64) for part in parts) / len(values)
    square = sum(np.square(values[part] - mean).sum(axis=0) for part in parts) / len(values)
    return np.asarray(mean), np.sqrt(square)


def finite_numpy(x: Tensor) -> np.ndarray:
    """float64 NumPy copy of model output. Raises NumericalError where it is not finite."""
    values = x.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(values).all():
        bad = len(values) - int(np.isfinite(values.reshape(len(values), -1)).all(1).sum())
        raise NumericalError(f"{bad} of {len(values)} items hold numbers that are not finite and have no data form.")
    return values


def to_dtype(values: np.ndarray, dtype: str) -> np.ndarray:
    """float64 -> dtype: rounded and kept within the dtype for integers; within the largest finite value for floats."""
    if dtype == "bool":
        return values >= 0.5
    if is_integer(dtype):
        limits = np.iinfo(dtype)
        # float64 cannot hold the largest 64-bit integers: the next float below is the bound.
        high = float(limits.max) if limits.bits <= 32 else np.nextafter(float(limits.max), 0)
        return np.clip(np.rint(values), float(limits.min), high).astype(dtype)
    limit = float(np.finfo(dtype).max)
    return np.clip(values, -limit, limit).astype(dtype)
