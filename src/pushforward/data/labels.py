"""Labels: the user's names or numbers of classes to 0 … K − 1 and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data import schema
from pushforward.errors import UserError


@dataclass(frozen=True)
class Labels:
    """The classes in order. `numeric` says that the user's labels are integers (then names are their digits).

    `column` and `position` are those of the label column where the data is a table.
    """

    names: tuple[str, ...]
    numeric: bool
    column: str | None = None
    position: int | None = None

    @staticmethod
    def of(found: np.ndarray, column: str | None = None, position: int | None = None) -> Labels:
        """The classes that occur in `found` (integers or strings), in numerical order where all are numbers."""
        return Labels(
            tuple(in_order(str(value) for value in np.unique(found))), found.dtype.kind != "U", column, position
        )

    def index(self, found: np.ndarray, what: str) -> np.ndarray:
        """The user's labels -> int64 (N,). Raises UserError for a class that is not known."""
        values, inverse = np.unique(found, return_inverse=True)
        places = {name: i for i, name in enumerate(self.names)}
        unknown = [str(value) for value in values if str(value) not in places]
        if unknown:
            raise UserError(
                f"{what} has the label {unknown[0]!r}, which the training data does not have: "
                f"use its {len(self.names)} classes ({_some(self.names)}) or add examples of the new one."
            )
        return np.array([places[str(value)] for value in values], dtype=np.int64)[inverse.reshape(-1)]

    def decode(self, index: np.ndarray) -> np.ndarray:
        """int64 (N,) -> the user's labels, int64 or strings."""
        index = np.asarray(index)
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self.names):
            raise UserError(
                f"Labels must lie in 0 … {len(self.names) - 1}; {int(index.min())} … {int(index.max())} given."
            )
        return np.array(self.names, dtype=np.int64 if self.numeric else None)[index]

    def find(self, name: str) -> int:
        """The index of one class by its name. Raises UserError with the names there are."""
        if name not in self.names:
            raise UserError(f"There is no class {name!r}: the classes are {_some(self.names, 20)}.")
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        return {"names": list(self.names), "numeric": self.numeric, "column": self.column, "position": self.position}

    @staticmethod
    def from_dict(stored: Any, where: str = "labels") -> Labels:
        found = schema.fields(stored, where, ("names", "numeric", "column", "position"))
        names = schema.items(schema.text)(found["names"], f"{where}.names")
        numeric = schema.flag(found["numeric"], f"{where}.numeric")
        if not names or len(set(names)) < len(names):
            raise schema.wrong(f"{where}.names", found["names"], "a list of different names")
        if numeric and not all(is_number(name) for name in names):
            raise schema.wrong(f"{where}.names", found["names"], "whole numbers (the labels are numeric)")
        column = schema.optional(schema.text)(found["column"], f"{where}.column")
        return Labels(names, numeric, column, schema.optional(schema.whole)(found["position"], f"{where}.position"))


def is_number(name: str) -> bool:
    """Whether a name is a 64-bit integer in plain digits."""
    digits = name[1:] if name.startswith("-") else name
    return digits.isascii() and digits.isdigit() and len(digits) <= 18


def in_order(names: Iterable[str]) -> list[str]:
    """Numerical order where every name is a number (2 before 10), alphabetical otherwise."""
    found = sorted(names)
    return sorted(found, key=int) if all(is_number(name) for name in found) else found


def _some(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
