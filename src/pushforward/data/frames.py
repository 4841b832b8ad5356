"""Columns by name, numbers or text: what predictions are made from, whatever it came in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data.checks import check_names, counted
from pushforward.errors import UserError

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


@dataclass(frozen=True, eq=False)
class Frame:
    """Columns of equal length: float64 numbers, or str for categories. `whole` says which hold whole numbers."""

    what: str
    names: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    whole: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def __getitem__(self, name: str) -> np.ndarray:
        """One column by its name."""
        return self.columns[self.names.index(name)]

    def is_text(self, name: str) -> bool:
        """Whether a column holds categories."""
        return self[name].dtype.kind == "U"

    def is_whole(self, name: str) -> bool:
        """Whether a column holds whole numbers alone."""
        return self.whole[self.names.index(name)]

    def take(self, rows: np.ndarray) -> Frame:
        """These rows, in this order."""
        return Frame(self.what, self.names, tuple(column[rows] for column in self.columns), self.whole)

    def without(self, names: Sequence[str]) -> Frame:
        """All other columns."""
        kept = [i for i, name in enumerate(self.names) if name not in names]
        columns = tuple(self.columns[i] for i in kept)
        return Frame(self.what, tuple(self.names[i] for i in kept), columns, tuple(self.whole[i] for i in kept))


def frame_of(table: Any, what: str = "the table", texts: Collection[str] = ()) -> Frame:
    """A Frame of a pandas or polars frame, a mapping of columns, or an array (N, D) of numbers, texts or both.

    Columns of the type category, and those of texts that `texts` names, are categories also where they look like
    numbers. Raises UserError, naming the columns, where cells are missing or dates.
    """
    if isinstance(table, Frame):
        return table
    if isinstance(table, Mapping) or hasattr(table, "columns"):
        keys = list(table.columns if hasattr(table, "columns") else table)
        names = [str(name) for name in keys]
        check_names(what, names)
        chosen = [table[key] for key in keys]
        texts = {*texts, *(name for name, column in zip(names, chosen, strict=True) if is_category(column))}
        found = [_categories(column) if is_category(column) else np.asarray(column) for column in chosen]
    else:
        array = np.asarray(table)
        if array.ndim != 2:
            raise UserError(f"{what} has the shape {array.shape}, and rows of columns (N, D) were expected.")
        names, found = [f"x{i}" for i in range(array.shape[1])], list(array.T)
    return frame_from(what, names, found, texts)


def frame_from(
    what: str,
    names: Sequence[str],
    found: Sequence[np.ndarray],
    texts: Collection[str] = (),
    needed: Collection[str] | None = None,
) -> Frame:
    """A Frame of columns, numbers told from texts.

    Raises UserError, naming the columns, where cells are missing in those that are `needed`, by default all.
    """
    check_names(what, names)
    needed = names if needed is None else needed
    for name, column in zip(names, found, strict=True):
        if column.dtype.kind in "mM" and name in needed:
            raise UserError(
                f"the column {name!r} of {what} holds dates or times: give them as numbers, such as days or a month"
            )
    columns = [_column(column, name in texts) for name, column in zip(names, found, strict=True)]
    missing = {name: rows for name, (_, _, rows) in zip(names, columns, strict=True) if len(rows) and name in needed}
    if missing:
        raise UserError(missing_sentence(what, missing))
    return Frame(what, tuple(names), tuple(c for c, _, _ in columns), tuple(w for _, w, _ in columns))


def is_category(column: Any) -> bool:
    """Whether a column of pandas or polars says by its type that its values are categories."""
    kind = getattr(column, "dtype", None)
    return getattr(kind, "name", None) == "category" or str(kind).startswith(("Categorical", "Enum"))


def _categories(column: Any) -> np.ndarray:
    """The values as texts, also where they are numbers, whole ones without a point."""
    values = np.asarray(column, dtype=object).tolist()
    plain = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
    return np.array([None if v is None else str(v) for v in plain], dtype=object)


def missing_sentence(what: str, missing: Mapping[str, np.ndarray]) -> str:
    """Which columns lack values, and in which row first."""
    listed = ", ".join(f"{name!r} ({counted(len(rows), 'row')}, first {rows[0]})" for name, rows in missing.items())
    return (
        f"{what} has values that are missing (NaN) or infinity in the columns {listed[:400]}: fill them, or remove "
        "these rows."
    )


def _column(found: np.ndarray, text: bool) -> tuple[np.ndarray, bool, np.ndarray]:
    """(float64 or text, whether all are whole numbers, rows without a value); texts stay so where `text`."""
    values = np.asarray(found)
    if values.dtype.kind == "b":
        return values.astype(np.float64), True, np.array([], int)
    if values.dtype.kind in "iuf":
        numbers = values.astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers))
        return numbers, values.dtype.kind in "iu", bad
    texts = np.array([_text(value) for value in values.tolist()], dtype=object)
    absent = np.array([text is None or text.lower() in _MISSING for text in texts], bool)
    kept = texts[~absent]
    if text and all(isinstance(value, str) for value in values[~absent].tolist()):
        return np.array([value or "" for value in texts], dtype=np.str_), False, np.flatnonzero(absent)
    try:
        numbers = np.full(len(texts), np.nan)
        numbers[~absent] = [float(text) for text in kept]
        whole = all(text.lstrip("+-").isdigit() for text in kept)
        return numbers, whole, np.flatnonzero(~np.isfinite(numbers))
    except ValueError:
        return np.array([text or "" for text in texts], dtype=np.str_), False, np.flatnonzero(absent)


def _text(value: object) -> str | None:
    """A cell as text; None where it is missing, as pandas has it too."""
    if value is None or (not isinstance(value, str) and str(value) in ("<NA>", "NaT")):
        return None
    return str(value).strip()
