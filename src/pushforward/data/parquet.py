"""Parquet tables of numbers, through pyarrow where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.data.categories import are_categories, codes_of
from pushforward.data.checks import check_names, counted
from pushforward.data.limits import check_size
from pushforward.data.raw import Raw, Reading
from pushforward.data.tables import Table, check_categories, check_label_column, table_raw
from pushforward.errors import UserError

if TYPE_CHECKING:
    import pyarrow

_INSTALL = "pip install 'pushforward[parquet]'"


def pyarrow_parquet() -> Any:
    """pyarrow.parquet, imported when it is needed. Raises UserError that names the extra."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"Parquet files need pyarrow, which is not installed: {_INSTALL}.") from error
    return pyarrow.parquet


def read_parquet(path: Path, reading: Reading) -> Raw:
    """A table whose columns are numbers or truth values, each with its own dtype. Raises UserError otherwise."""
    parquet = pyarrow_parquet()
    what = str(path)
    try:
        with parquet.ParquetFile(path) as file:
            meta = file.metadata
            sizes = [meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)]
            check_size(what, max(sum(sizes), 8 * meta.num_rows * meta.num_columns), reading.memory)
            table = file.read()
    except UserError:
        raise
    except Exception as error:  # pyarrow maps damage to several of its own and Python's types
        said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a readable Parquet file ({said}): write it again.") from error
    return table_raw(what, _table(what, table, reading.label_column, reading.categories), reading)


def _table(what: str, table: pyarrow.Table, label: str | None, coded: Sequence[str] = ()) -> Table:
    import pyarrow.types as types

    names = tuple(table.column_names)
    check_names(what, names)
    check_label_column(what, names, label)
    check_categories(what, names, coded)
    texts = {
        field.name
        for field in table.schema
        if (types.is_string(field.type) or types.is_large_string(field.type) or types.is_dictionary(field.type))
        and are_categories([str(value) for value in table.column(field.name).to_pylist()])
    }
    text = [
        f"{field.name!r} ({field.type})"
        for field in table.schema
        if field.name != label
        and field.name not in texts
        and not (types.is_integer(field.type) or types.is_floating(field.type) or types.is_boolean(field.type))
    ]
    if text:
        raise UserError(
            f"{what} has columns that are not numbers: {', '.join(text)[:400]}. Remove them, turn them into numbers, "
            "or name one as the labels with label_column (--label-column NAME)."
        )
    columns, dtypes, labels = {}, {}, None
    categories: dict[str, tuple[str, ...]] = {}
    for name in names:
        _check_missing(what, name, table.column(name))
        if name == label:
            labels = np.array(table.column(name).to_pylist())
        elif name in texts or name in coded:
            columns[name], categories[name], dtypes[name] = codes_of([str(v) for v in table.column(name).to_pylist()])
        else:
            found = table.column(name).to_numpy()
            columns[name], dtypes[name] = found.astype(np.float64), found.dtype.name
    return Table(names, columns, dtypes, labels, categories)


def _check_missing(what: str, name: str, column: pyarrow.ChunkedArray) -> None:
    if column.null_count:
        rows = np.flatnonzero(np.asarray(column.is_null()))[:5].tolist()
        raise UserError(
            f"{what} has {counted(column.null_count, 'missing value')} in column {name!r}, at rows "
            f"{', '.join(map(str, rows))}{', …' if column.null_count > 5 else ''}: fill or remove them."
        )
