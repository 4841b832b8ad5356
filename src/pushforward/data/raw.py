"""What a source gives before it is split: rows in the user's own form and what was noticed about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pushforward.data.dataset import Values
from pushforward.data.lazy import LazyImages
from pushforward.data.limits import default_limit
from pushforward.data.picture import Opening
from pushforward.data.pixels import Layout

if TYPE_CHECKING:
    from pushforward.data.text import Cut, TextReading

LabelSource = np.ndarray | Tensor | list | tuple | bool | None
"""The labels themselves; None takes those that the source has, False ignores them."""


@dataclass(frozen=True)
class Reading:
    """How sources are read. `memory` in bytes; `channels_last` settles shapes that could be either."""

    labels: LabelSource = None
    label_column: str | None = None
    channels_last: bool | None = None
    opening: Opening = field(default_factory=Opening)
    memory: int = field(default_factory=default_limit)
    text: TextReading = field(default_factory=lambda: _text_reading())
    categories: tuple[str, ...] = ()


def _text_reading() -> TextReading:
    from pushforward.data.text import TextReading  # which reads into what is defined here

    return TextReading()


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows of one source. `layout` is None for vectors and tables, `names` None for plain arrays.

    `text` says how texts were cut; their rows are units. `categories` has the names of the codes that a column holds,
    None for a column of numbers. `labels` are int64 or strings. `content` is what the fingerprint hashes, row by row,
    where it is not `values`. `conditions` are what else is known of each row (`data.conditions`).
    """

    what: str
    values: Values
    labels: np.ndarray | None = None
    layout: Layout | None = None
    mode: str | None = None
    names: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    label_column: str | None = None
    label_position: int | None = None
    extremes: tuple[float, float] | None = None
    content: np.ndarray | None = None
    messages: tuple[str, ...] = ()
    text: Cut | None = None
    categories: tuple[tuple[str, ...] | None, ...] | None = None
    conditions: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: np.ndarray) -> Values:
        """The values of these rows (lazily decoded images stay on disk)."""
        return self.values.take(index) if isinstance(self.values, LazyImages) else self.values[index]

    def labels_at(self, index: np.ndarray) -> np.ndarray | None:
        return None if self.labels is None else self.labels[index]

    def content_at(self, index: np.ndarray) -> np.ndarray:
        source = self.values if self.content is None else self.content
        return source[index]
