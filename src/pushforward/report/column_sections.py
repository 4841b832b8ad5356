"""The sections of a report on vectors and tables: histograms, pairs, and rows to read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pushforward.data.format import Format
from pushforward.report.page import Section, figure, table
from pushforward.report.pictures import pair_plots
from pushforward.report.scales import number
from pushforward.report.subject import Subject

_COLUMNS = 6


def names_of(form: Format) -> list[str]:
    """The columns' names; x1, x2, … where the data have none."""
    return list(form.columns) if form.columns else [f"x{i + 1}" for i in range(form.item_shape[0])]


def _varied_first(subject: Subject) -> list[int]:
    """Columns that vary, in their order; the constant ones say nothing in a picture."""
    spread = np.ptp(np.asarray(subject.train, dtype=np.float64), axis=0)
    return np.flatnonzero(spread > 0).tolist() or [0]


def distributions(subject: Subject) -> Section:
    """Histograms of columns and scatter plots of neighbouring pairs, real and generated."""
    columns, names = _varied_first(subject)[:_COLUMNS], names_of(subject.generator.format)
    real, made = (np.asarray(x, dtype=np.float64)[:, columns] for x in (subject.real, subject.samples.values))
    shown = (
        "" if len(columns) == len(names) else f" The first {len(columns)} columns that vary are shown, of {len(names)}."
    )
    plots = pair_plots(made, real, [names[i] for i in columns])
    return Section(
        "Real beside generated",
        [
            figure(
                plots,
                f"Histograms: the values of each column in {len(real)} real rows and {len(made)} generated ones. Point "
                "clouds: neighbouring pairs of columns, so that their dependence can be seen. The two colours should "
                f"cover each other.{shown}",
            )
        ],
    )


def _cells(values: np.ndarray, dtypes: tuple[str, ...], columns: list[int]) -> list[list[str]]:
    def written(value: float, dtype: str) -> str:
        return f"{round(value)}" if "int" in dtype or dtype == "bool" else number(value, 4)

    return [[written(float(row[i]), dtypes[i]) for i in columns] for row in values]


def rows_to_read(subject: Subject, count: int = 6) -> Section:
    """A few generated rows under a few real ones."""
    form = subject.generator.format
    names, columns = names_of(form), list(range(min(10, form.item_shape[0])))
    dtypes = form.column_dtypes or tuple(str(form.dtype) for _ in names)
    kinds = [("real", subject.real, None), ("generated", subject.samples.values, subject.samples.labels)]
    label_names = form.label_names
    cells = []
    for kind, values, labels in kinds:
        for i, row in enumerate(_cells(values[:count], dtypes, columns)):
            label = [] if labels is None or label_names is None else [f" ({label_names[labels[i]]})"]
            cells.append(["".join([kind, *label]), *row])
    return Section(
        "Rows to read",
        [
            table(
                ["", *(names[i] for i in columns)],
                cells,
                "Real rows and generated ones, in the form and type of the data that were given; constant columns are "
                "put back, and whole numbers are whole.",
                numeric=range(1, len(columns) + 1),
            )
        ],
    )


def column_sections(subject: Subject) -> Iterator[Section | None]:
    """All sections on what rows the model makes, in their order."""
    yield distributions(subject)
    yield rows_to_read(subject)
