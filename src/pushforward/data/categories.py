"""Columns of categories: texts, or whole numbers that are names, as codes 0 … K − 1 and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pushforward.data.labels import in_order, is_number
from pushforward.data.raw import Raw
from pushforward.errors import UserError

MOST = 1000
"""Different texts of a column that are learned as categories; a column of more holds names or sentences."""

Categories = Sequence[tuple[str, ...] | None]
"""Of each column the names of its codes, None for a column of numbers."""


def are_categories(cells: Sequence[str]) -> bool:
    """Whether texts repeat enough to be categories, and are no numbers with a few exceptions."""
    different = len(set(cells))
    numbers = sum(map(_is_number, cells))
    if not all(map(str.isprintable, cells)):
        return False
    return different <= min(MOST, max(2, len(cells) // 2)) and numbers <= len(cells) // 2


def codes_of(cells: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], str]:
    """float64 codes (N,), the names in order, and the dtype of the names."""
    names = tuple(in_order(set(cells)))
    places = {name: i for i, name in enumerate(names)}
    plain = all(is_number(name) and str(int(name)) == name for name in names)
    return np.array([places[cell] for cell in cells], dtype=np.float64), names, "int64" if plain else "str"


def aligned(raw: Raw, names: Sequence[str] | None, wanted: Categories | None) -> Raw:
    """The rows with the codes that `wanted` gives to the categories of columns of these names.

    Raises UserError for a category that is not among them, and for numbers in the place of categories.
    """
    if raw.names is None or names is None or (wanted is None and raw.categories is None):
        return raw
    have = raw.categories or (None,) * len(raw.names)
    expected = dict(zip(names, wanted or (None,) * len(names), strict=True))
    values, coded = np.array(raw.values[:], dtype=np.float64), list(have)
    for i, name in enumerate(raw.names):
        known, found = expected.get(name), have[i]
        if name not in expected or known == found:
            continue
        if known is None:
            raise UserError(f"{raw.what} has texts in column {name!r}, which held numbers in the training data.")
        cells = _numbers_as_names(values[:, i]) if found is None else [found[int(code)] for code in values[:, i]]
        values[:, i], coded[i] = _codes_among(cells, known, name, raw.what), known
    return replace(raw, values=values, categories=tuple(coded))


def _codes_among(cells: Sequence[str], known: tuple[str, ...], column: str, what: str) -> np.ndarray:
    places = {name: i for i, name in enumerate(known)}
    for row, cell in enumerate(cells):
        if cell not in places:
            shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
            raise UserError(
                f"row {row} of {what} has the category {cell!r} in column {column!r}, which the training data does not "
                f"have: its {len(known)} categories are {shown}."
            )
    return np.array([places[cell] for cell in cells], dtype=np.float64)


def _numbers_as_names(values: np.ndarray) -> list[str]:
    return [str(int(value)) if value == int(value) else repr(float(value)) for value in values]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
