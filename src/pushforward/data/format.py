"""What is needed to return samples in the user's own form: stored with every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from torch import Tensor

from pushforward.data import schema
from pushforward.data.columns import Columns
from pushforward.data.labels import Labels
from pushforward.data.pairing import Pairing
from pushforward.data.pixels import Pixels
from pushforward.data.tokens import Tokens
from pushforward.errors import UserError


class Kind(StrEnum):
    """What one item is."""

    IMAGE = "image"
    VECTOR = "vector"
    TABLE = "table"
    TEXT = "text"
    PAIR = "pair"
    """A row with a response, of which the response is predicted."""


@dataclass(frozen=True)
class Format:
    """The two-way map between the user's data and model units, and the names of its classes."""

    coding: Pixels | Columns | Tokens | Pairing
    labels: Labels | None = None

    @property
    def kind(self) -> Kind:
        if isinstance(self.coding, Pixels):
            return Kind.IMAGE
        if isinstance(self.coding, Tokens):
            return Kind.TEXT
        if isinstance(self.coding, Pairing):
            return Kind.PAIR
        return Kind.VECTOR if self.coding.names is None else Kind.TABLE

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item in model units: (C, H, W) or (D,)."""
        return self.coding.shape

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one item in the user's own form: (H, W), (H, W, C), (C, H, W), (columns,), () for texts."""
        return self.coding.item_shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the user's array (float64 for tables, whose columns have their own)."""
        return np.dtype(self.coding.dtype)

    @property
    def scale(self) -> float | tuple[float, ...]:
        """Units of the user per model unit: one for images, one per varying column otherwise."""
        return self.coding.scale

    @property
    def offset(self) -> float | tuple[float, ...]:
        """The user's value at 0 in model units."""
        return self.coding.offset

    @property
    def mode(self) -> str | None:
        """Pillow's pixel type (L, RGB, RGBA, I;16, F) where the data came from image files."""
        return self.coding.mode if isinstance(self.coding, Pixels) else None

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The column names of a table, constant columns included."""
        return self.coding.names if isinstance(self.coding, Columns) else None

    @property
    def column_dtypes(self) -> tuple[str, ...] | None:
        return self.coding.dtypes if isinstance(self.coding, Columns) else None

    @property
    def label_names(self) -> tuple[str, ...] | None:
        return None if self.labels is None else self.labels.names

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None where there are no labels."""
        return None if self.labels is None else len(self.labels.names)

    def encode(self, values: np.ndarray) -> Tensor:
        """(N, *item_shape) in the user's form -> float32 (N, *shape), of texts int64. Raises UserError for another."""
        values = np.asarray(values)
        if isinstance(self.coding, Tokens):
            return self.coding.encode(values)
        if values.dtype.kind not in "biuf":
            raise UserError(f"Numbers were expected, and an array of dtype {values.dtype} was given: convert it first.")
        return self.coding.encode(values)

    def decode(self, x: Tensor) -> np.ndarray:
        """(N, *shape) in model units -> (N, *item_shape) in the user's form.

        Integers are rounded and clipped to their range, constant columns are put back. Raises NumericalError where
        `x` is not finite.
        """
        return self.coding.decode(x)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` gives an equal Format."""
        return {
            "kind": self.kind.value,
            "coding": self.coding.to_dict(),
            "labels": None if self.labels is None else self.labels.to_dict(),
        }

    @staticmethod
    def from_dict(stored: Any, where: str = "format") -> Format:
        """Raises UserError, naming the place, for anything that `to_dict` does not write."""
        found = schema.fields(stored, where, ("kind", "coding", "labels"))
        kind = schema.one_of(*Kind)(found["kind"], f"{where}.kind")
        coding = _coding(Kind(kind), found["coding"], f"{where}.coding")
        labels = schema.optional(Labels.from_dict)(found["labels"], f"{where}.labels")
        result = Format(coding, labels)
        if result.kind != kind:
            raise schema.wrong(f"{where}.kind", kind, result.kind.value)
        return result


def _coding(kind: Kind, stored: Any, where: str) -> Pixels | Columns | Tokens | Pairing:
    if kind is Kind.PAIR:
        return Pairing.from_dict(stored, where)
    if kind is Kind.IMAGE:
        return Pixels.from_dict(stored, where)
    return Tokens.from_dict(stored, where) if kind is Kind.TEXT else Columns.from_dict(stored, where)
