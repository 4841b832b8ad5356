"""From raw rows to a data set: the format measured, the splits made, everything said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pushforward.data.categories import aligned
from pushforward.data.checks import option
from pushforward.data.columns import Columns
from pushforward.data.dataset import Dataset, Split
from pushforward.data.fingerprint import Part, fingerprint
from pushforward.data.format import Format, Kind
from pushforward.data.labels import Labels
from pushforward.data.numbers import is_integer, mean_and_deviation
from pushforward.data.pixels import Layout, Pixels, float_range, integer_range
from pushforward.data.raw import Raw
from pushforward.data.text import tokens_of
from pushforward.data.tokens import Tokens
from pushforward.errors import UserError

_MOST_DECIMALS = 6
_COUNTED_BYTES = 64 << 20
"""Repeated items are counted in data up to this size: a second's work."""
_EXACT_REACH = 1 << 22
"""Whole numbers this far from the middle still come back exactly from float32."""
_SMALLEST_SPREAD = 1e-6
"""Where a column's training rows deviate by less than this of its whole range, the range is its scale."""


def assemble(name: str, train: Part, validation: Part, test: Part) -> Dataset:
    """Measure the format (range and constants on all rows, mean and deviation on training rows) and make the splits."""
    train, validation, test = _aligned((train, validation, test))
    parts = (train, validation, test)
    raws = _distinct(parts)
    for raw in raws[1:]:
        _check_alike(raws[0], raw)
    found_labels = train[0].labels
    labels = None
    if found_labels is not None:
        labels = Labels.of(found_labels, train[0].label_column, train[0].label_position)
    coding, said = _coding(train, raws)
    form = Format(coding, labels)
    splits = _split(train, form), _split(validation, form), _split(test, form)
    counts = " · ".join(f"{what} {len(s)}" for what, s in zip(("train", "validation", "test"), splits, strict=True))
    shape = "×".join(map(str, form.shape))
    total = sum(len(s) for s in splits)
    classes = f" · {form.num_classes} classes" if form.num_classes else ""
    twice = sum(_duplicates(raw) for raw in raws)
    if twice:
        said = (*said, f"exact copies of an earlier item: {twice} (a copy may fall on the other side of a split)")
    kinds = {Kind.TABLE: "numbers", Kind.TEXT: "symbols"}
    what = f"{shape} {kinds.get(form.kind, form.dtype)}"
    head = f"{name} · {total:,} {_ITEMS[form.kind.value]} of {what}{classes} · {counts}"
    said = (*said, *(_told(name, values) for name, values in train[0].conditions.items()))
    noticed = tuple(dict.fromkeys(line for raw in raws for line in raw.messages))
    return Dataset(name, *splits, form, (head, *said, *noticed), fingerprint(form, parts))


def _told(name: str, values: np.ndarray) -> str:
    shape = "×".join(map(str, values.shape[1:]))
    return (
        f"told {name}: {shape} numbers of mean {values.mean():.3g} and deviation {values.std():.3g}, taken as they are"
    )


_ITEMS = {"image": "images", "vector": "vectors", "table": "rows", "text": "texts"}


def _coding(train: Part, raws: Sequence[Raw]) -> tuple[Pixels | Columns | Tokens, tuple[str, ...]]:
    if train[0].text is not None:
        return tokens_of(list(raws))
    return _pixels(raws) if train[0].layout is not None else _columns(train, raws)


def _aligned(parts: Sequence[Part]) -> tuple[Part, Part, Part]:
    """The parts with the codes of categories that the first one has."""
    first = parts[0][0]
    done = {id(raw): aligned(raw, first.names, first.categories) for raw in _distinct(parts)}
    one, two, three = ((done[id(raw)], rows) for raw, rows in parts)
    return one, two, three


def _distinct(parts: Sequence[Part]) -> list[Raw]:
    found: list[Raw] = []
    for raw, _ in parts:
        if not any(raw is other for other in found):
            found.append(raw)
    return found


def _duplicates(raw: Raw) -> int:
    """Rows equal to an earlier one, byte for byte; not counted where that would take long."""
    content = raw.values if raw.content is None else raw.content
    if raw.text is not None and raw.text.units is not None:
        return 0  # pieces of one text overlap
    if not isinstance(content, np.ndarray) or content.nbytes > _COUNTED_BYTES or not len(content):
        return 0
    rows = np.ascontiguousarray(content).reshape(len(content), -1)
    return len(rows) - len(np.unique(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))))


def _split(part: Part, form: Format) -> Split:
    raw, rows = part
    found = raw.labels_at(rows)
    index = None if form.labels is None or found is None else form.labels.index(found, raw.what)
    everything = len(rows) == len(raw) and bool((rows == np.arange(len(raw))).all())
    conditions = {name: torch.from_numpy(values[rows]) for name, values in raw.conditions.items()}
    return Split(raw.values if everything else raw.rows(rows), index, form, conditions)


def _check_alike(train: Raw, other: Raw) -> None:
    mine = _described(train)
    theirs = _described(other)
    if mine != theirs:
        raise UserError(f"{other.what} has {theirs}, and the training data has {mine}: give data of the same form.")
    if (train.labels is None) != (other.labels is None) and len(other):
        having, lacking = (train, other) if other.labels is None else (other, train)
        raise UserError(
            f"{having.what} has labels and {lacking.what} has none: label both, or ignore the labels with "
            f"{option('labels', False)}."
        )


def _described(raw: Raw) -> str:
    shape = "×".join(map(str, raw.values.shape[1:]))
    if raw.text is not None:
        return f"texts of {shape} {raw.text.unit}"
    if raw.names is not None:
        return f"the columns {', '.join(raw.names)}"
    if raw.layout is None:
        return f"vectors of {shape} numbers"
    return f"{shape} images of {raw.mode or raw.values.dtype}"


def _extremes(raw: Raw) -> tuple[float, float]:
    if raw.extremes is not None:
        return raw.extremes
    return raw.values[:].min().item(), raw.values[:].max().item()


def _pixels(raws: Sequence[Raw]) -> tuple[Pixels, tuple[str, ...]]:
    raw, dtype = raws[0], raws[0].values.dtype
    ends = [_extremes(one) for one in raws]
    least, most = min(low for low, _ in ends), max(high for _, high in ends)
    if is_integer(dtype.name):
        low, high, clip = integer_range(int(least), int(most), dtype)
    else:
        low, high, clip = float_range(least, most, all(_integral(one) for one in raws))
    layout = raw.layout or Layout.PLANE
    shape = raw.values.shape[1:]
    sides = {Layout.PLANE: (1, *shape), Layout.FIRST: shape, Layout.LAST: (*shape[2:], *shape[:2])}[layout]
    channels, height, width = sides
    said = [f"values {least:g} … {most:g}, taken as {low:g} … {high:g} and scaled to [-1, 1]"]
    if dtype == np.uint16 and channels == 1:
        said.append(f"16-bit grey kept as uint16 (range 0 … {high:g})")
    if least == most:
        said.append(f"every pixel of every image is {least:g}")
    if is_integer(dtype.name) and (high - low) / 2 > _EXACT_REACH:
        said.append("pixels are whole numbers over a wide range: kept to about 7 digits")
    return Pixels((channels, height, width), layout, dtype.name, float(low), float(high), clip, raw.mode), tuple(said)


def _integral(raw: Raw) -> bool:
    return isinstance(raw.values, np.ndarray) and bool((raw.values == np.round(raw.values)).all())


def _columns(train: Part, raws: Sequence[Raw]) -> tuple[Columns, tuple[str, ...]]:
    raw, rows = train
    ends = [_column_ends(one) for one in raws]
    low, high = np.min([least for least, _ in ends], axis=0), np.max([most for _, most in ends], axis=0)
    constant = low == high
    if constant.all():
        raise UserError(f"Every column of {raw.what} is constant: there is nothing to learn; give data that varies.")
    values = np.asarray(raw.rows(rows))[:, ~constant]
    mean, spread = mean_and_deviation(values)
    whole_range = np.maximum((high - low)[~constant], np.finfo(np.float64).tiny)
    spread = np.where(spread < _SMALLEST_SPREAD * whole_range, whole_range, spread)
    names = raw.names or tuple(str(i) for i in range(len(low)))
    coded = raw.categories or (None,) * len(low)
    plain = np.array([coded[i] is None for i in np.flatnonzero(~constant)])
    mean, spread = np.where(plain, mean, 0.0), np.where(plain, spread, 1.0)
    said = ["columns standardised (mean 0, deviation 1 on training rows)"] if plain.any() else []
    said += [
        f"column {names[i]} is a category of {len(found)}" for i, found in enumerate(coded) if found and not constant[i]
    ]
    said += [f"column {names[i]} is constant ({low[i]:g}): carried through" for i in np.flatnonzero(constant)[:10]]
    if constant.sum() > 10:
        said.append(f"{int(constant.sum()) - 10} more columns are constant: carried through")
    reach = np.maximum(high[~constant] - mean, mean - low[~constant])
    dtypes = raw.dtypes or (raw.values.dtype.name,) * len(low)
    said += [
        f"column {names[i]} holds whole numbers over a range of {high[i] - low[i]:.3g}: kept to about 7 digits"
        for i, far in zip(np.flatnonzero(~constant), reach, strict=True)
        if is_integer(dtypes[i]) and far > _EXACT_REACH and coded[i] is None
    ]
    decimals = tuple(_decimals(raws, i) if raw.names and not is_integer(dtypes[i]) else None for i in range(len(low)))
    kept = [f"{names[i]} {places}" for i, places in enumerate(decimals) if places is not None]
    if kept:
        said.append(f"decimals kept: {', '.join(kept[:10])}{', …' if len(kept) > 10 else ''}")
    coding = Columns(
        names=raw.names,
        dtypes=dtypes,
        dtype=raw.values.dtype.name,
        offset=tuple(mean.tolist()),
        scale=tuple(spread.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        constants=tuple(value if fixed else None for value, fixed in zip(low.tolist(), constant, strict=True)),
        decimals=decimals,
        categories=raw.categories,
    )
    return coding, tuple(said)


def _decimals(raws: Sequence[Raw], column: int) -> int | None:
    """The digits after the point that all values of a column are written with, where float32 can bring them back."""
    values = [np.asarray(raw.values[:, column]) for raw in raws if isinstance(raw.values, np.ndarray)]
    span = max(float(one.max()) for one in values) - min(float(one.min()) for one in values)
    for places in range(_MOST_DECIMALS + 1):
        if span * 10.0**places > _EXACT_REACH:
            return None
        if all((np.round(one, places) == one).all() for one in values):
            return places
    return None


def _column_ends(raw: Raw) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(raw.values[:])
    return values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
