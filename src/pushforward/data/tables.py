"""CSV tables of numbers."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import numpy as np

from pushforward.data.arrays import choose_labels
from pushforward.data.categories import are_categories, codes_of
from pushforward.data.checks import check_count, check_finite, check_names, counted
from pushforward.data.labels import is_number
from pushforward.data.limits import check_size
from pushforward.data.raw import Raw, Reading
from pushforward.errors import UserError

_CHUNK = 8192
_BYTES_PER_CHARACTER = 8
"""Of a table while it is read: eight bytes, twice, for every number of two characters with its separator."""


@dataclass(frozen=True)
class Table:
    """Columns by name as they were read: float64 numbers with their dtypes, and the text of the label column."""

    names: tuple[str, ...]
    columns: dict[str, np.ndarray]
    dtypes: dict[str, str]
    labels: np.ndarray | None
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)


def table_raw(what: str, table: Table, reading: Reading, messages: Sequence[str] = ()) -> Raw:
    """The checks that every table passes, whatever file it was in."""
    label = reading.label_column
    names = tuple(name for name in table.names if name != label)
    if not names:
        raise UserError(f"{what} has no column besides the label column {label!r}: there is nothing to learn.")
    values = np.stack([table.columns[name] for name in names], 1)
    check_count(len(values), what)
    check_finite(values, what, names)
    counted = [i for i, name in enumerate(names) if not table.dtypes[name].startswith("float")]
    _check_exact(values, counted, names, what)
    position = None if label is None else table.names.index(label)
    labels = choose_labels(table.labels, len(values), what, reading)
    dtypes = tuple(table.dtypes[name] for name in names)
    return Raw(
        what, values, labels, names=names, dtypes=dtypes,
        label_column=label if labels is not None else None,
        label_position=position if labels is not None else None, messages=tuple(messages),
        categories=tuple(table.categories.get(name) for name in names) if table.categories else None,
    )  # fmt: skip


def check_label_column(what: str, names: Sequence[str], label: str | None) -> None:
    """Raise UserError with the nearest name where the label column is not there."""
    if label is not None:
        check_column(what, names, label, "label column")


def check_column(what: str, names: Sequence[str], name: str, kind: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise UserError(f"{what} has no {kind} {name!r}{hint}: its columns are {listed}.")


def check_categories(what: str, names: Sequence[str], categories: Sequence[str]) -> None:
    """Raise UserError with the nearest name where a column of categories is not there."""
    for name in categories:
        check_column(what, names, name, "column")


def _check_exact(values: np.ndarray, counted: list[int], names: Sequence[str], what: str) -> None:
    for i in counted:
        if np.abs(values[:, i]).max() >= 1 << 53:
            raise UserError(
                f"Column {names[i]!r} of {what} holds whole numbers of 2⁵³ or more, which cannot be kept exactly: "
                "remove it (is it an identifier?) or write it as real numbers."
            )


def read_csv(path: Path, reading: Reading) -> Raw:
    """Numbers and categories separated by commas, semicolons or tabs, with or without a header.

    Raises UserError with the line and column for ragged rows, empty cells, text that is no category, repeated names.
    """
    try:
        check_size(str(path), path.stat().st_size * _BYTES_PER_CHARACTER, reading.memory)
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=delimiter_of(file.readline()))
            file.seek(0)
            table, said = _read(str(path), lines, reading)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a UTF-8 text table ({error}): save it as CSV in UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    return table_raw(str(path), table, reading, said)


def delimiter_of(first_line: str) -> str:
    """Comma, semicolon or tab: whichever the line has most of."""
    return max((",", ";", "\t"), key=first_line.count)


Line = tuple[int, list[str]]


class Lines(Protocol):
    """What csv.reader returns: rows of cells, and how many lines of the file have been read."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


def _numbered(lines: Lines) -> Iterator[Line]:
    """Rows that are not blank, with the number of the line they end on."""
    for row in lines:
        if row:
            yield lines.line_num, row


def _read(what: str, lines: Lines, reading: Reading) -> tuple[Table, list[str]]:
    rows = _numbered(lines)
    head = list(islice(rows, 2))
    if not head:
        raise UserError(f"{what} is empty, and a table of numbers with or without a header line was expected.")
    header = is_header([cell.strip() for cell in head[0][1]], head[1][1] if len(head) > 1 else None)
    if header:
        names = [cell.strip() or f"column_{i}" for i, cell in enumerate(head.pop(0)[1])]
        said = []
    else:
        names = [f"column_{i}" for i in range(len(head[0][1]))]
        said = ["no header line: columns are named column_0, column_1, …"]
    if not head:
        raise UserError(f"{what} has a header line and no rows below it: add rows of numbers.")
    check_names(what, names)
    check_label_column(what, names, reading.label_column)
    check_categories(what, names, reading.categories)
    columns = _Columns(what, names, reading.label_column, reading.categories)
    body = chain(head, rows)
    while chunk := list(islice(body, _CHUNK)):
        columns.add(chunk)
    return columns.table(), said


def is_header(first: list[str], second: list[str] | None) -> bool:
    """A header has no numbers, or text in some column where the next row has a number."""
    if not any(_is_number(cell) for cell in first):
        return True
    return second is not None and any(
        cell and not _is_number(cell) and _is_number(below) for cell, below in zip(first, second, strict=False)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


class _Columns:
    """Columns of numbers and of categories growing chunk by chunk; other text is remembered by its first cell."""

    def __init__(self, what: str, names: list[str], label: str | None, categories: Sequence[str] = ()) -> None:
        self.what, self.names, self.label = what, names, label
        self.cells: dict[str, list[str]] = {name: [] for name in categories}
        self.parts: list[list[np.ndarray]] = [[] for _ in names]
        self.whole = [True] * len(names)
        self.labels: list[str] = []
        self.text: dict[str, tuple[int, str]] = {}
        self.not_finite: list[str] = []

    def add(self, chunk: list[Line]) -> None:
        for number, row in chunk:
            if len(row) != len(self.names):
                raise UserError(
                    f"Line {number} of {self.what} has {len(row)} cells, and {len(self.names)} were expected: "
                    "complete it or remove it (a cell that contains the separator needs quotes)."
                )
        cells = zip(*(row for _, row in chunk), strict=True)
        for i, (name, column) in enumerate(zip(self.names, cells, strict=True)):
            if name == self.label:
                self._add_labels(chunk, column)
            elif name in self.cells:
                self._add_cells(chunk, name, column)
            elif name not in self.text:
                self._add_numbers(chunk, i, column)

    def _add_labels(self, chunk: list[Line], column: Sequence[str]) -> None:
        for (number, _), cell in zip(chunk, column, strict=True):
            if not cell.strip():
                raise UserError(
                    f"Line {number} of {self.what} has no label in column {self.label!r}: fill it or remove the line."
                )
        self.labels += [cell.strip() for cell in column]

    def _add_numbers(self, chunk: list[Line], i: int, column: Sequence[str]) -> None:
        try:
            numbers = np.array(list(map(float, column)))
            if any("_" in cell for cell in column):
                raise ValueError("underscores between digits are Python's alone")
        except ValueError:
            place, cell = next((n, cell) for (n, _), cell in zip(chunk, column, strict=True) if not _is_number(cell))
            if not any(cell.strip() for cell in column):
                raise UserError(
                    f"Column {self.names[i]!r} of {self.what} is empty from line {place} to line {chunk[-1][0]}: fill "
                    "it or remove the column."
                ) from None
            if not cell.strip():
                raise UserError(
                    f"Line {place} of {self.what} has an empty cell in column {self.names[i]!r}: "
                    "fill it or remove the line."
                ) from None
            self.text[self.names[i]] = (place, cell)
            if not self.parts[i]:  # text from the beginning: perhaps categories
                self.cells[self.names[i]] = []
                self._add_cells(chunk, self.names[i], column)
            return
        if not np.isfinite(numbers).all():
            bad = np.flatnonzero(~np.isfinite(numbers)).tolist()
            self.not_finite += [f"line {chunk[k][0]}, column {self.names[i]!r} ({column[k].strip()})" for k in bad]
        self.whole[i] = self.whole[i] and _all_whole(column)
        self.parts[i].append(numbers)

    def _add_cells(self, chunk: list[Line], name: str, column: Sequence[str]) -> None:
        for (number, _), cell in zip(chunk, column, strict=True):
            if not cell.strip():
                raise UserError(
                    f"Line {number} of {self.what} has an empty cell in column {name!r}: fill it (with a name of its "
                    "own for what is not known) or remove the line."
                )
        self.cells[name] += [cell.strip() for cell in column]

    def table(self) -> Table:
        text = {
            name: place
            for name, place in self.text.items()
            if name not in self.cells or not are_categories(self.cells[name])
        }
        if text:
            listed = ", ".join(f"{name!r} (line {n}: {cell.strip()[:20]!r})" for name, (n, cell) in text.items())
            raise UserError(
                f"{self.what} has columns that are not numbers: {listed[:400]}. Remove them, turn them into numbers, "
                "or name one as the labels with label_column (--label-column NAME). (Texts that repeat are categories.)"
            )
        if self.not_finite:
            shown = "; ".join(self.not_finite[:5]) + ("; …" if len(self.not_finite) > 5 else "")
            raise UserError(
                f"{self.what} has {counted(len(self.not_finite), 'cell')} without a finite number, at {shown}: "
                "fill or remove these rows."
            )
        columns, dtypes = {}, {}
        categories: dict[str, tuple[str, ...]] = {}
        for i, name in enumerate(self.names):
            if name in self.cells:
                columns[name], categories[name], dtypes[name] = codes_of(self.cells[name])
            elif name != self.label:
                columns[name] = np.concatenate(self.parts[i])
                dtypes[name] = "int64" if self.whole[i] else "float64"
        return Table(
            tuple(self.names), columns, dtypes, as_labels(self.labels) if self.label is not None else None, categories
        )


def _all_whole(column: Sequence[str]) -> bool:
    try:
        return len(list(map(int, column))) > 0
    except ValueError:
        return False


def as_labels(found: Sequence[str]) -> np.ndarray:
    """Labels read as text: numbers where all are whole and written plainly (not 007, which is a name), else names."""
    if all(is_number(cell) and str(int(cell)) == cell for cell in found):
        return np.array([int(cell) for cell in found], dtype=np.int64)
    return np.array(found, dtype=np.str_)
