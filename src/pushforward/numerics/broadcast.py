"""The one place where a per-sample number meets a batch of samples."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.errors import UserError

Scalar = float | Tensor
"""A number for the whole batch (float) or one per sample (tensor of shape (B,))."""


def expand(scalar: Scalar, like: Tensor) -> Scalar:
    """Shape a per-sample tensor (B,) so that it multiplies `like` (B, …); floats pass through.

    The result has the dtype and device of `like`, so that float64 coefficients never promote the state.
    """
    if not isinstance(scalar, Tensor):
        return scalar
    scalar = scalar.to(device=like.device, dtype=like.dtype)
    return scalar.reshape(scalar.shape + (1,) * (like.ndim - scalar.ndim)) if scalar.ndim else scalar


def choose(mask: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Items (B, …) of `first` where the mask (B,) says so, of `second` elsewhere."""
    return torch.where(mask.reshape(-1, *[1] * (first.ndim - 1)), first, second)


def entries_of(values: Tensor, index: Tensor, what: str) -> Tensor:
    """Entries (N, …) of the samples `index` (M,), which may repeat: (M, …), or (1, …) where one entry is that of all.

    Raises UserError where there are more samples than entries.
    """
    if len(values) == 1:
        return values
    if len(index) and int(index.max()) >= len(values):
        raise UserError(
            f"there are {len(values)} {what} and at least {int(index.max()) + 1} items: one per item, or one for all, "
            "was expected"
        )
    return values[index.to(values.device)]


def sum_per_sample(x: Tensor) -> Tensor:
    """Σ over everything but the batch: (B, …) -> (B,)."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x


def mean_per_sample(x: Tensor) -> Tensor:
    """Mean over everything but the batch: (B, …) -> (B,)."""
    return x.flatten(1).mean(1) if x.ndim > 1 else x


def batch_of(value: Scalar, batch: int, device: torch.device) -> Tensor:
    """A float32 tensor (B,) from a number or from one number per sample: what a network takes as its time.

    One number for all is expanded, so that `one_if_shared` finds it again.
    """
    if isinstance(value, Tensor):
        time = value.to(device=device, dtype=torch.float32)
        return time if time.ndim else time.expand(batch)  # with its gradient, where times are fitted
    return torch.full((1,), float(value), device=device).expand(batch)


def one_if_shared(values: Tensor) -> Tensor:
    """(B,) -> (1,) where one number was expanded to all of a batch, told by its stride: nothing is read or compared."""
    return values[:1] if len(values) > 1 and values.stride(0) == 0 else values
