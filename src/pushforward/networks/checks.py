"""What a network refuses at its boundary, in one sentence each."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.errors import UserError


def require_positive(**numbers: int) -> None:
    """Refuse sizes below one, e.g. `require_positive(width=width)`."""
    for name, value in numbers.items():
        if value < 1:
            raise UserError(f"The network was given {name}={value}, but {name} must be at least 1.")


def check_input(x: Tensor, time: Tensor, ndim: int, features: int, what: str) -> None:
    """Refuse inputs of another shape than the network was built for.

    `ndim` is 4 for images (B, C, H, W) and 3 for sequences (B, C, L), where `features` is C; 2 for vectors (B, D),
    where it is D.
    """
    expected = {4: f"(batch, {features}, height, width)", 3: f"(batch, {features}, length)"}.get(
        ndim, f"(batch, {features})"
    )
    if x.ndim != ndim or x.shape[1] != features:
        raise UserError(f"{what} was built for inputs of shape {expected}, but was given {tuple(x.shape)}.")
    if time.shape != x.shape[:1]:
        raise UserError(
            f"{what} needs one time per item, shape ({len(x)},), but was given {tuple(time.shape)}; "
            "expand a single number to the batch first."
        )


def check_label(label: Tensor | None, batch: int, num_classes: int | None) -> None:
    """Refuse labels that the network does not know; `num_classes` itself stands for "no label"."""
    if label is None:
        return
    if num_classes is None:
        raise UserError("Labels were given to a network without classes; build it with num_classes, or pass None.")
    if label.shape != (batch,) or label.is_floating_point():
        raise UserError(
            f"Labels must be integers of shape ({batch},), one per item, but were {label.dtype} "
            f"of shape {tuple(label.shape)}."
        )
    # Looking at the values of a tensor on an accelerator would make the host wait for it at every step.
    if label.device.type == "cpu" and not torch.compiler.is_compiling() and batch:
        low, high = int(label.min()), int(label.max())
        if low < 0 or high > num_classes:
            raise UserError(
                f"Label {low if low < 0 else high} is outside 0 … {num_classes - 1} "
                f"({num_classes} means no label); give the labels that the network was built for."
            )
