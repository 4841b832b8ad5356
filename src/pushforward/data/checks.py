"""Checks that every array passes at the boundary, each with one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from pushforward.errors import UserError

LARGEST = 1e100
"""Beyond this a variance overflows."""
_EXACT = 1 << 53
_CHUNK = 1 << 22


def option(name: str, value: object) -> str:
    """How an argument of `load` is given, in Python and on the command line.

    >>> option("labels", False)
    'labels=False (--set data.labels=false)'
    """
    return f"{name}={value!r} (--set data.{name}={str(value).lower() if isinstance(value, bool) else value})"


def counted(count: int, noun: str) -> str:
    """1 item, 2 items."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def check_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """Native-endian numbers or truth values, or UserError."""
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        kind = "Python objects (they would need pickle, which can run code)" if values.dtype.hasobject else values.dtype
        raise UserError(f"{what} holds {kind}, and plain numbers were expected: save it as integers or floats.")
    return np.asarray(values, dtype=values.dtype.newbyteorder("="))


def check_count(count: int, what: str) -> None:
    if count < 2:
        raise UserError(f"{what} has {counted(count, 'item')}, and at least 2 are needed: add more.")


def check_finite(values: np.ndarray, what: str, names: Sequence[str] | None = None) -> None:
    """Raise UserError with the first five positions of NaN or infinity, or of numbers too large to work with."""
    flat = values.reshape(len(values), -1)
    step = max(1, _CHUNK // max(1, flat.shape[1]))
    bound = min(LARGEST, float(np.finfo(values.dtype).max)) if values.dtype.kind == "f" else _EXACT
    if values.dtype.kind == "b" or (values.dtype.itemsize <= 2 and values.dtype.kind in "iu"):
        return
    count = 0
    places: list[tuple[int, int]] = []
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        # Two comparisons instead of abs(): the smallest integer has no positive twin, and NaN fails both.
        bad = np.argwhere(~((part <= bound) & (part >= -bound)))
        count += len(bad)
        places += [(start + int(row), int(column)) for row, column in bad[: 5 - len(places)]]
    if count:
        shown = "; ".join(_place(values, row, column, names) for row, column in places)
        raise UserError(
            f"{what} has {counted(count, 'value')} that cannot be used, at {shown}"
            f"{'; …' if count > len(places) else ''}: finite numbers below {bound:.0e} were expected, "
            "so remove or fill these rows."
        )


def _place(values: np.ndarray, row: int, column: int, names: Sequence[str] | None) -> str:
    value = values.reshape(len(values), -1)[row, column]
    if names is not None:
        return f"row {row}, column {names[column]!r} ({value})"
    if values.ndim == 2:
        return f"row {row}, column {column} ({value})"
    within = tuple(int(i) for i in np.unravel_index(column, values.shape[1:]))
    return f"item {row}, position {within} ({value})"


def clean_labels(labels: object, count: int, what: str) -> np.ndarray:
    """Labels as int64 or strings (N,), or UserError."""
    try:
        found = np.asarray(labels)
    except ValueError as error:
        raise UserError(
            f"The labels of {what} are not one list of classes ({error}): give one label per item."
        ) from error
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise UserError(
            f"The labels of {what} have the shape {found.shape}, and one label per item was expected: "
            "turn one-hot rows into class numbers with argmax."
        )
    if len(found) != count:
        raise UserError(f"{what} has {count} items and {len(found)} labels: give one label per item.")
    if found.dtype.kind in "US":
        return _label_names(found, what)
    check_numbers(found, f"The label array of {what}")
    if found.dtype.kind == "f" and not (np.isfinite(found) & (found == np.round(found))).all():
        row = int(np.argmin(np.isfinite(found) & (found == np.round(found))))
        raise UserError(
            f"The label of item {row} in {what} is {found[row]}, and labels are classes (whole numbers or names): "
            "leave a continuous target in the values."
        )
    if len(found) and max(abs(int(found.max())), abs(int(found.min()))) >= 10**18:
        raise UserError(
            f"The labels of {what} reach {found.max()}, and numbers below 10¹⁸ were expected: renumber them."
        )
    return _few_classes(found.astype(np.int64), what)


def _label_names(found: np.ndarray, what: str) -> np.ndarray:
    try:
        names = found.astype(np.str_)
    except UnicodeDecodeError as error:
        raise UserError(f"The labels of {what} are bytes that are not ASCII: save them as text.") from error
    empty = np.flatnonzero(np.char.strip(names) == "")
    if len(empty):
        raise UserError(
            f"{what} has {counted(len(empty), 'item')} without a label, first item {empty[0]}: "
            f"label all of them, or ignore the labels with {option('labels', False)}."
        )
    return _few_classes(names, what)


def _few_classes(labels: np.ndarray, what: str) -> np.ndarray:
    classes = len(np.unique(labels))
    if classes > 20 and classes > len(labels) / 2:
        raise UserError(
            f"The labels of {what} have {classes} different values in {len(labels)} items, and classes were expected: "
            "name another column, or leave this one in the values."
        )
    return labels


def unused(name: str, taken: Collection[str]) -> str:
    """The name, with a number where it is taken."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found


def check_names(what: str, names: Sequence[str]) -> None:
    """Raise UserError where two columns have one name."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        places = [i + 1 for i, name in enumerate(names) if name == repeated[0]]
        raise UserError(
            f"{what} has the column name {repeated[0]!r} {len(places)} times (columns {', '.join(map(str, places))}): "
            "give every column its own name."
        )
