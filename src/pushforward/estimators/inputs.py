"""What an estimator is given, checked: tables of numbers or texts, responses, classes, a seed."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, column_or_1d

from pushforward.data.frames import Frame, is_category
from pushforward.errors import UserError

_ABSENT = ("nan", "NaT", "<NA>")
"""How values that are missing are written."""


def settled_seed(state: Any) -> int:
    """A number for all randomness of one fit: the number given, or one drawn from a NumPy generator (None: any)."""
    if isinstance(state, numbers.Integral) and not isinstance(state, bool):
        if not 0 <= int(state) < 1 << 63:
            raise UserError(f"random_state must be a whole number of at least 0; got {state}")
        return int(state)
    if isinstance(state, np.random.Generator):
        return int(state.integers(1 << 31))
    if state is None or isinstance(state, np.random.RandomState):
        return int(check_random_state(state).randint(1 << 31))
    raise UserError(
        f"random_state is {state!r}: give a whole number, a generator of NumPy, or None for another result every time"
    )


def require_values(name: str, given: Any) -> None:
    """Raise UserError for a lazy frame."""
    if hasattr(given, "collect"):
        raise UserError(f"{name} is a lazy frame, which has no values yet: give {name}.collect()")


def has_categories(x: Any) -> bool:
    """Whether some column is text, or a category by its type, or a date. Numbers kept as objects count as numbers.

    Raises UserError for a lazy frame.
    """
    if isinstance(x, Frame):
        return True
    require_values("X", x)
    if hasattr(x, "columns") and not hasattr(x, "toarray"):
        if len(set(x.columns)) < len(x.columns):
            return False  # whoever reads it by name says so
        return any(_is_text(np.asarray(x[name])) or is_category(x[name]) for name in x.columns)
    if not isinstance(x, np.ndarray | list | tuple):
        return False
    try:
        array = np.asarray(x)
    except ValueError:
        return False
    return array.ndim == 2 and _is_text(array)


def _is_text(array: np.ndarray) -> bool:
    if array.dtype.kind in "USmM":
        return True
    return array.dtype.kind == "O" and any(isinstance(value, str) for value in array.ravel().tolist())


def joined(frame: Frame, y: np.ndarray, targets: Sequence[str]) -> tuple[Frame, tuple[str, ...]]:
    """Features and responses y (N, R) as one table, and the responses' names, told apart from those of features."""
    names, columns, whole = list(frame.names), list(frame.columns), list(frame.whole)
    for i, target in enumerate(targets):
        while target in names:
            target += " (response)"
        column = y[:, i]
        names.append(target)
        columns.append(column)
        whole.append(column.dtype.kind == "f" and bool((column == np.round(column)).all()))
    return Frame("the table", tuple(names), tuple(columns), tuple(whole)), tuple(names[len(frame.names) :])


def response_names(y: Any, count: int) -> tuple[str, ...]:
    """Of the responses of a table or a named column; y, or y0, y1, …, where there are none."""
    if hasattr(y, "columns"):
        return tuple(str(name) for name in y.columns)
    name = getattr(y, "name", None)
    if count == 1:
        return (name if isinstance(name, str) and name else "y",)
    return tuple(f"y{i}" for i in range(count))


def number_responses(y: Any, x: Any) -> np.ndarray:
    """Responses (N,) or (N, R) as float64, checked as scikit-learn does."""
    from sklearn.utils.validation import _check_y

    _require(y)
    if _is_text(np.asarray(y)):
        raise UserError("y holds texts or dates, and numbers were expected: CARDClassifier predicts classes")
    values = np.asarray(_check_y(y, multi_output=True, y_numeric=True), np.float64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(y, warn=True).astype(np.float64)
    _as_many(x, values)
    return values


def class_responses(y: Any, x: Any) -> np.ndarray:
    """Classes (N,), checked as scikit-learn does."""
    _require(y)
    y = _plain_classes(y)
    check_classification_targets(y)
    if type_of_target(y) in ("multilabel-indicator", "multiclass-multioutput"):
        raise UserError("Unknown label type: one class per row was expected, and y has several columns")
    values = column_or_1d(y, warn=True)
    _as_many(x, values)
    return np.asarray(values)


def _plain_classes(y: Any) -> Any:
    """Classes in NumPy's own types: truth values of pandas stay truth values. Raises UserError where one is missing."""
    values = np.asarray(y)
    if values.dtype.kind == "O":
        absent = [v is None or (not isinstance(v, str) and str(v) in _ABSENT) for v in values.ravel().tolist()]
        if any(absent):
            raise UserError(f"y has no class in row {np.argmax(absent)}: fill what is missing, or leave these rows out")
    own = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    return values.astype(own) if isinstance(own, np.dtype) and own.kind in "biuf" else y


def _require(y: Any) -> None:
    if y is None:
        raise UserError("requires y to be passed, but the target y is None")
    require_values("y", y)


def _as_many(x: Any, values: np.ndarray) -> None:
    if hasattr(x, "shape") or isinstance(x, list):
        check_consistent_length(x, values)
