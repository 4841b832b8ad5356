"""Labels of networks that know classes and nothing but classes."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.errors import UserError


def check_class(label: Tensor | None, batch: int, num_classes: int | None, what: str) -> None:
    """Refuse anything but one known class per item, or None for a network without classes."""
    if not num_classes:
        if label is not None:
            raise UserError(f"{what} was built without classes and was given labels; pass None, or build it with them.")
        return
    if label is None:
        raise UserError(f"{what} was built for {num_classes} classes and needs a label for each item.")
    if label.shape != (batch,) or label.is_floating_point():
        raise UserError(
            f"{what} needs integer labels of shape ({batch},), one per item, but was given {label.dtype} of shape "
            f"{tuple(label.shape)}."
        )
    # Looking at the values of a tensor on an accelerator would make the host wait for it at every step.
    if label.device.type == "cpu" and not torch.compiler.is_compiling() and batch:
        low, high = int(label.min()), int(label.max())
        if low < 0 or high >= num_classes:
            raise UserError(
                f"{what} was given the label {low if low < 0 else high}; its classes are 0 … {num_classes - 1}."
            )
