"""Items in the form of a run's data: one of its own splits, or a file, checked against what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.config.run import Run
from pushforward.data.categories import aligned
from pushforward.data.columns import Columns
from pushforward.data.dataset import Dataset, Split
from pushforward.data.format import Format
from pushforward.data.numbers import is_integer
from pushforward.data.pairing import Pairing
from pushforward.data.pixels import Pixels
from pushforward.data.raw import Raw, Reading
from pushforward.data.readers import READERS, read
from pushforward.data.text import TextReading
from pushforward.data.tokens import Tokens
from pushforward.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Rows:
    """Encoded items x (N, *shape) and their classes int64 (N,), or None."""

    x: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.x)

    def at(self, index: Tensor) -> Rows:
        """The items of these numbers."""
        return Rows(self.x[index], None if self.labels is None else self.labels[index])


def rows_of(run: Run, source: str | Path, number: int | None = None, data: Dataset | None = None) -> Rows:
    """The first `number` items of a split of the run's data, or of a file or folder of the same form.

    Raises UserError for a number below 1, and for data of another shape, other columns, or outside the range.
    """
    if isinstance(run.format.coding, Pairing):
        raise UserError(
            f"{run.path} predicts a response and makes no items: ask `predict` of rows, and `evaluate` how well it does"
        )
    if number is not None and number < 1:
        raise UserError(f"the number of samples must be at least 1; got {number}")
    if str(source) in SPLITS:
        split: Split = getattr(data or run.data(), str(source))
        if not len(split):
            raise UserError(f"the {source} split of {run.path} is empty; give another split or a file")
        batch = split.batch(np.arange(min(len(split), number or len(split))))
        return Rows(batch.values, batch.labels)
    raw = _read(run, source)
    coding = run.format.coding
    if isinstance(coding, Columns):
        raw = aligned(raw, coding.names, coding.categories)
    keep = np.arange(min(len(raw), number or len(raw)))
    values, labels = np.asarray(raw.rows(keep)), raw.labels_at(keep)
    values = _fitting(values, raw, run.format)
    known = None if labels is None or run.format.labels is None else run.format.labels.index(labels, raw.what)
    return Rows(run.format.encode(values), None if known is None else torch.from_numpy(known))


def _read(run: Run, source: str | Path) -> Raw:
    column = run.config.data.label_column
    if column is not None and Path(source).suffix.lower() in (".csv", ".tsv") and not _has_column(Path(source), column):
        column = None  # a table without its classes can be scored all the same
    how = run.config.data
    length = run.format.shape[0] if isinstance(run.format.coding, Tokens) else None
    reading = Reading(label_column=column, text=TextReading(how.tokens, length, how.lines), categories=how.categories)
    try:
        return read(source, reading)
    except UserError as error:
        if str(source) not in READERS and not Path(source).expanduser().exists():
            raise UserError(
                f"there is no data at {str(source)!r}: give a file or folder, or one of {', '.join(SPLITS)}"
            ) from None
        raise error


def _has_column(path: Path, column: str) -> bool:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return column in file.readline()
    except (OSError, UnicodeDecodeError):
        return True  # reading it says what is wrong


def _fitting(values: np.ndarray, raw: Raw, form: Format) -> np.ndarray:
    coding = form.coding
    assert not isinstance(coding, Pairing)  # `rows_of` has refused it
    if isinstance(coding, Tokens) or raw.text is not None:
        if not isinstance(coding, Tokens) or raw.text is None:
            raise UserError(f"{raw.what} is of another kind than the data that the model was trained on")
        return values
    if values.shape[1:] != form.item_shape and not isinstance(coding, Columns):
        given, wanted = ("×".join(map(str, shape)) for shape in (values.shape[1:], form.item_shape))
        raise UserError(f"{raw.what} has items of shape {given}, and the model was trained on {wanted}")
    return _columns(values, raw, coding) if isinstance(coding, Columns) else _pixels(values, raw, coding)


def _columns(values: np.ndarray, raw: Raw, coding: Columns) -> np.ndarray:
    if coding.names is not None and raw.names is not None:
        missing = [name for name in coding.names if name not in raw.names]
        if missing:
            raise UserError(
                f"{raw.what} has no column {missing[0]!r}, and the model was trained on "
                f"{', '.join(coding.names[:10])}{', …' if len(coding.names) > 10 else ''}"
            )
        values = values[:, [raw.names.index(name) for name in coding.names]]
    if values.ndim != 2 or values.shape[1] != len(coding.dtypes):
        given = "×".join(map(str, values.shape[1:]))
        raise UserError(
            f"{raw.what} has items of shape {given}, and the model was trained on {len(coding.dtypes)} columns"
        )
    _near(values, raw, coding)
    for i, constant in enumerate(coding.constants):
        other = np.flatnonzero(values[:, i] != (values[:, i] if constant is None else constant))
        if len(other):
            name = repr(coding.names[i]) if coding.names else str(i)
            raise UserError(
                f"row {other[0]} of {raw.what} has {values[other[0], i]:g} in column {name}, which was always "
                f"{constant:g} in the training data: the model knows no other value"
            )
    return values


_FARTHEST = 1000.0
"""Deviations of the training data beyond which a number is of another unit, and a density says nothing of it."""


def _near(values: np.ndarray, raw: Raw, coding: Columns) -> None:
    """Refuse numbers so far from the training data that they cannot be of it."""
    for place, i in enumerate(coding.varying):
        if i in coding.coded:
            continue
        far = np.flatnonzero(np.abs(values[:, i] - coding.offset[place]) > _FARTHEST * coding.scale[place])
        if len(far):
            name = repr(coding.names[i]) if coding.names else str(i)
            raise UserError(
                f"row {far[0]} of {raw.what} has {values[far[0], i]:g} in column {name}, more than {_FARTHEST:g} "
                f"deviations from the training data, in {coding.low[i]:g} … {coding.high[i]:g}: look at its unit"
            )


def _pixels(values: np.ndarray, raw: Raw, coding: Pixels) -> np.ndarray:
    if is_integer(coding.dtype) != is_integer(values.dtype.name):
        raise UserError(
            f"{raw.what} holds {values.dtype} pixels, and the model was trained on {coding.dtype}: convert them"
        )
    low, high = float(values.min()), float(values.max())
    if (coding.clip or is_integer(coding.dtype)) and not coding.low <= low <= high <= coding.high:
        raise UserError(
            f"{raw.what} has values {low:g} … {high:g}, and the model was trained on values in {coding.low:g} … "
            f"{coding.high:g}: rescale them"
        )
    return values
