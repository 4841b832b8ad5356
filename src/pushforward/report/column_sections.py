"""The sections of a report on vectors and tables: histograms, pairs, and rows to read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pushforward.data.categories import Categories
from pushforward.data.columns import Columns
from pushforward.data.format import Format
from pushforward.metrics.features import own_units
from pushforward.metrics.neighbours import nearest
from pushforward.models.denoising import DiffusionGenerator
from pushforward.report.autoencoder_sections import autoencoder_sections
from pushforward.report.denoising import noise_of, record
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


def _cells(
    values: np.ndarray, dtypes: tuple[str, ...], columns: list[int], categories: Categories | None = None
) -> list[list[str]]:
    def written(value: float, dtype: str) -> str:
        return f"{round(value)}" if "int" in dtype or dtype == "bool" else number(value, 4)

    def shown(value: float, i: int) -> str:
        names = None if categories is None else categories[i]
        return written(value, dtypes[i]) if names is None else names[round(value)]

    return [[shown(float(row[i]), i) for i in columns] for row in values]


def rows_to_read(subject: Subject, count: int = 6) -> Section:
    """A few generated rows under a few real ones."""
    form = subject.generator.format
    names, columns = names_of(form), list(range(min(10, form.item_shape[0])))
    dtypes = form.column_dtypes or tuple(str(form.dtype) for _ in names)
    kinds = [("real", subject.real, None), ("generated", subject.samples.values, subject.samples.labels)]
    label_names = form.label_names
    categories = form.coding.categories if isinstance(form.coding, Columns) else None
    cells = []
    for kind, values, labels in kinds:
        for i, row in enumerate(_cells(values[:count], dtypes, columns, categories)):
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


def by_label(subject: Subject, most: int = 8) -> Section | None:
    """Mean and deviation of columns for each label, real and generated; None for a model without labels."""
    form, samples = subject.generator.format, subject.samples
    names, (values, labels) = form.label_names, subject.train_with_labels
    if names is None or labels is None or samples.labels is None:
        return None
    columns, cells = _varied_first(subject)[:_COLUMNS], []
    for label, name in enumerate(names[:most]):
        for kind, rows in (("real", values[labels == label]), ("generated", samples.values[samples.labels == label])):
            numbers = rows[:, columns].astype(np.float64)
            said = [f"{number(x)} ± {number(sd, 2)}" for x, sd in zip(numbers.mean(0), numbers.std(0), strict=True)]
            cells.append([f"{name}, {kind}", *(said if len(rows) else ["none"] * len(columns))])
    rest = "" if len(names) <= most else f" The first {most} of {len(names)} labels are shown."
    return Section(
        "Asked for a label",
        [
            table(
                ["", *(names_of(form)[i] for i in columns)],
                cells,
                "Mean and standard deviation of columns in the training rows of each label and in the rows generated "
                f"for it; each pair of lines should agree.{rest}",
                numeric=range(1, len(columns) + 1),
            )
        ],
    )


def denoising(subject: Subject, moments: int = 7) -> Section | None:
    """What the model makes of two rows at several moments of sampling, from noise to data; None for no denoiser."""
    e, form, count, generator = subject.evaluation, subject.generator.format, 2, subject.generator
    if not isinstance(generator, DiffusionGenerator):
        return None
    labels = generator.label_indices(None, count)
    recording = record(generator, labels, e.steps, e.seed + 2, e.guidance, count)
    columns = _varied_first(subject)[: _COLUMNS + 2]
    dtypes = form.column_dtypes or tuple(str(form.dtype) for _ in names_of(form))
    frames = recording.chosen(moments)
    states = [*((noise_of(f.ratio), form.decode(f.guess)) for f in frames), ("sample", form.decode(recording.samples))]
    cells = [
        [f"{i + 1}: {noise}", *_cells(values[i : i + 1], dtypes, columns)[0]]
        for i in range(count)
        for noise, values in states
    ]
    return Section(
        "From noise to data",
        [
            table(
                ["row: noise", *(names_of(form)[i] for i in columns)],
                cells,
                "Sampling begins with pure noise, of the size given at the left in units of the data (σ/α). At every "
                "step the model guesses the row behind the noise; the guess begins as an average of all rows and "
                "becomes definite.",
                numeric=range(1, len(columns) + 1),
            )
        ],
    )


def closest(subject: Subject, count: int = 6) -> Section:
    """The samples that lie nearest to training rows, above those rows."""
    form, values = subject.generator.format, subject.samples.values
    units = own_units(subject.train)
    found = nearest(units(values), units(subject.train), 1)
    order = found.distances[:, 0].argsort()[:count]
    columns = _varied_first(subject)[: _COLUMNS + 2]
    dtypes = form.column_dtypes or tuple(str(form.dtype) for _ in names_of(form))
    cells = []
    for i in order.tolist():
        row, distance = int(found.items[i, 0]), number(float(found.distances[i, 0]))
        for name, line in (("sample", values[i : i + 1]), (f"nearest, {distance} away", subject.train[row : row + 1])):
            cells.append([name, *_cells(line, dtypes, columns)[0]])
    return Section(
        "Is it copying?",
        [
            table(
                ["", *(names_of(form)[i] for i in columns)],
                cells,
                f"Of {len(values)} samples, the {len(order)} that come nearest to a training row, each above it; "
                "distances are in standard deviations of the columns, over all of them. Relatives are expected; a "
                "sample at distance 0 is a copy. The share of near copies, beside what real unseen data give, is in "
                "the table of figures.",
                numeric=range(1, len(columns) + 1),
            )
        ],
    )


def column_sections(subject: Subject) -> Iterator[Section | None]:
    """All sections on what rows the model makes, in their order."""
    yield distributions(subject)
    yield rows_to_read(subject)
    yield by_label(subject)
    yield denoising(subject)
    yield from autoencoder_sections(subject)
    yield closest(subject)
