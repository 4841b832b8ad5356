"""Tables with names read from files as a Frame: .csv, .tsv and .parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from pushforward.data.checks import check_names
from pushforward.data.frames import Frame, frame_from
from pushforward.data.limits import check_size, default_limit
from pushforward.data.parquet import pyarrow_parquet
from pushforward.data.tables import delimiter_of, is_header
from pushforward.errors import UserError

_BYTES_PER_CELL = 100
Form = Callable[[str, Sequence[str], Sequence[np.ndarray]], Frame]
"""(what, names, columns) -> a Frame."""


def read_frame(
    path: Path | str, memory: int | None = None, texts: Collection[str] = (), needed: Collection[str] | None = None
) -> Frame:
    """A table with names: .csv, .tsv or .parquet. Raises UserError for anything else and for missing cells.

    Columns that `texts` names stay texts where they look like numbers; those that are not `needed` may lack cells.
    """
    form = partial(frame_from, texts=texts, needed=needed)
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if not path.exists():
        raise UserError(f"There is no data at {str(path)!r}: check the path.")
    if suffix == ".parquet":
        return _read_parquet(path, form)
    if suffix not in (".csv", ".tsv"):
        raise UserError(f"{path} ends in {suffix or 'nothing'}, and a table was expected: .csv, .tsv or .parquet.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=delimiter_of(file.readline()))
            file.seek(0)
            return _read_text(str(path), (row for row in lines if row), memory or default_limit(), form)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a UTF-8 text table ({error}): save it as CSV in UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_text(what: str, rows: Iterator[list[str]], memory: int, form: Form) -> Frame:
    head = list(islice(rows, 2))
    if len(head) < 2:
        raise UserError(f"{what} has no rows below a header line: add some.")
    if not is_header([cell.strip() for cell in head[0]], head[1]):
        raise UserError(f"{what} has no header line, and the response is found by its column's name: add one.")
    names = [cell.strip() or f"column_{i}" for i, cell in enumerate(head[0])]
    check_names(what, names)
    body = [head[1]]
    for row in rows:
        body.append(row)
        if len(body) % 65536 == 0:
            check_size(what, _BYTES_PER_CELL * len(body) * len(names), memory)
    for number, row in enumerate(body):
        if len(row) != len(names):
            raise UserError(
                f"Row {number} of {what} has {len(row)} cells, and {len(names)} were expected: complete it or remove "
                "it (a cell that contains the separator needs quotes)."
            )
    return form(what, names, [np.array(column, dtype=object) for column in zip(*body, strict=True)])


def _read_parquet(path: Path, form: Form) -> Frame:
    parquet = pyarrow_parquet()
    try:
        table = parquet.read_table(path)
    except Exception as error:
        said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a readable Parquet file ({said}): write it again.") from error
    columns = [np.array(c.to_pylist(), dtype=object) for c in table.columns]
    return form(str(path), table.column_names, columns)
