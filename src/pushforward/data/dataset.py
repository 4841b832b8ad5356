"""Batches, splits and data sets: rows in the user's own form, encoded when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.data.lazy import LazyImages

Values: TypeAlias = np.ndarray | LazyImages
"""Rows by index: an array in memory, or images decoded when they are asked for."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model trains on: values float32 (B, *shape) in model units (int64 of texts), labels int64 (B,) or None.

    `conditions` are what else is known of each item, by name, one entry per item.
    """

    values: Tensor
    labels: Tensor | None = None
    conditions: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Batch:
        return replace(
            self,
            values=self.values.to(device, non_blocking=True),
            labels=None if self.labels is None else self.labels.to(device, non_blocking=True),
            conditions={name: value.to(device, non_blocking=True) for name, value in self.conditions.items()},
        )

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Rows in the user's own form: values (N, *item_shape), labels int64 (N,) class indices or None.

    `conditions` are what else is known of them, by name, float32 (N, …).
    """

    values: Values
    labels: np.ndarray | None
    format: Format
    conditions: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"<Split of {len(self)} items, {self.values.dtype} {self.format.item_shape}>"

    def batch(self, indices: Sequence[int] | np.ndarray | Tensor) -> Batch:
        """The items with these indices, encoded, in this order; an index may repeat."""
        rows = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices, dtype=np.int64).reshape(-1)
        labels = None if self.labels is None else torch.from_numpy(self.labels[rows])
        conditions = {name: values[torch.from_numpy(rows)] for name, values in self.conditions.items()}
        return Batch(self.format.encode(self.values[rows]), labels, conditions)

    def all(self) -> Batch:
        """Every item, encoded: for splits that fit in memory as float32."""
        return self.batch(np.arange(len(self)))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Three splits of the user's data, its format, what was noticed and decided, and a hash of the contents.

    `origin` holds the arguments of `load` that read it again, None where it was made of arrays.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    format: Format
    messages: tuple[str, ...]
    fingerprint: str
    origin: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Dataset {self.messages[0]}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item in model units."""
        return self.format.shape

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None where there are no labels."""
        return self.format.num_classes
