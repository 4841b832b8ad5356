"""Places in the plane from a CSV table, and the same rows again in the order of a tour."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pushforward.data.atomic import write_file
from pushforward.data.labels import is_number
from pushforward.data.tables import delimiter_of
from pushforward.errors import UserError

_NAMES = (("x", "y"), ("easting", "northing"), ("lon", "lat"), ("lng", "lat"), ("longitude", "latitude"))
_DEGREES = ("lon", "lng", "longitude")
_LARGEST = 64 << 20
"""Bytes: a million cities, far more than any tour here."""


@dataclass(frozen=True, eq=False)
class Cities:
    """The rows of a table as they were written, and of each its place: (n, 2), not yet checked.

    `in_degrees`: the places are longitudes and latitudes, by their names.
    """

    header: list[str] | None
    rows: list[list[str]]
    places: np.ndarray
    delimiter: str = ","
    in_degrees: bool = False

    def write(self, path: Path, tour: Sequence[int] | np.ndarray) -> None:
        """The rows in the order of the tour, as they were, with their stop 1, 2, … before them."""

        def put(file: Path) -> None:
            with file.open("w", encoding="utf-8", newline="") as out:
                delimiter = "\t" if path.suffix.lower() == ".tsv" else self.delimiter
                writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
                if self.header is not None:
                    writer.writerow(["stop", *self.header])
                writer.writerows([stop, *self.rows[city]] for stop, city in enumerate(tour, 1))

        write_file(path, put)


def read_cities(path: Path) -> Cities:
    """Two columns of numbers, or the columns x and y (or lon and lat) of a table with a header.

    Raises UserError: no file, no table, no such columns, a cell that is no number.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path} is larger than a table of cities can be: give one row per city")
        text = path.read_text(encoding="utf-8-sig")
        delimiter = delimiter_of(text.partition("\n")[0])
        lines = csv.reader(io.StringIO(text), delimiter=delimiter)
        rows = [row for row in lines if any(cell.strip() for cell in row)]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a UTF-8 text table ({error}): save it as CSV in UTF-8") from None
    if not rows:
        raise UserError(f"{path} is empty: give a table with one row per city and its x and y")
    header = None if any(is_number(cell.strip()) for cell in rows[0]) else rows.pop(0)
    count = len(header or rows[0])
    for i, row in enumerate(rows, 1):
        if len(row) != count:
            raise UserError(
                f"{path}: city {i} has {len(row)} cells, and {count} were expected: write numbers with a point, and "
                "texts that hold the delimiter in quotes"
            )
    chosen = _columns(path, header, count)
    places = [[_number(path, i, row, column) for column in chosen] for i, row in enumerate(rows, 1)]
    in_degrees = header is not None and header[chosen[0]].strip().lower() in _DEGREES
    return Cities(header, rows, np.array(places, dtype=np.float64).reshape(-1, 2), delimiter, in_degrees)


def _columns(path: Path, header: list[str] | None, count: int) -> tuple[int, int]:
    names = [cell.strip().lower() for cell in header or ()]
    for x, y in _NAMES:
        if x in names and y in names:
            return names.index(x), names.index(y)
    if count == 2:
        return 0, 1
    raise UserError(
        f"{path} has {count} columns, and which are the coordinates is not clear: name them x and y in a header line, "
        "or leave two columns of numbers"
    )


def _number(path: Path, number: int, row: list[str], column: int) -> float:
    cell = row[column].strip()
    try:
        return float(cell)
    except ValueError:
        what = f"{cell!r}, which is no number" if cell else "no coordinate"
        raise UserError(f"{path}: city {number} has {what} in column {column + 1}; write one number per cell") from None
