"""Items with what else is known of them: vectors, token sequences, images, one entry per item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward.data.dataset import Batch, Split
from pushforward.errors import UserError

Condition = Tensor | Callable[[Batch], Tensor]
"""One entry per item of the split, or a function of a batch, such as an encoder of the user's or a degraded image."""


@dataclass(frozen=True, eq=False)
class Conditioned:
    """A split whose batches have conditions by name.

    >>> # train = Conditioned(data.train, {"tokens": embeddings, "image": lambda batch: blur(batch.values)})

    Raises:
        UserError: a condition without exactly one entry per item, or with values that are not finite.
    """

    items: Split
    conditions: Mapping[str, Condition]

    def __post_init__(self) -> None:
        for name, value in self.conditions.items():
            if not isinstance(value, Tensor):
                continue
            if len(value) != len(self.items):
                raise UserError(
                    f"the condition {name} has {len(value)} entries for {len(self.items)} items; give one each"
                )
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise UserError(f"the condition {name} has values that are not finite: remove or fill them")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> object:
        """The classes of the items, where they have some."""
        return self.items.labels

    def batch(self, indices: Tensor) -> Batch:
        """The items with these indices and their conditions."""
        batch, at = self.items.batch(indices), torch.as_tensor(indices).cpu()
        found = {
            name: value[at] if isinstance(value, Tensor) else value(batch) for name, value in self.conditions.items()
        }
        return replace(batch, conditions=found)

    def all(self) -> Batch:
        """Every item."""
        return self.batch(torch.arange(len(self)))
