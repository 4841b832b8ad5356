"""`load`: the user's data, wherever it is, as a checked data set with its splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.assemble import Part, assemble
from pushforward.data.builtin import BUILTIN
from pushforward.data.conditions import Conditions, check_rows, read_conditions
from pushforward.data.dataset import Dataset
from pushforward.data.limits import default_limit
from pushforward.data.picture import Opening
from pushforward.data.raw import LabelSource, Raw, Reading
from pushforward.data.readers import READERS, Source, extension, is_builtin, located, read
from pushforward.data.splits import split, spread_order
from pushforward.data.text import TextReading, in_order
from pushforward.errors import UserError

_VALIDATION = ("validation", "valid", "val")
_MODES = (None, "L", "RGB", "RGBA")


def load(
    source: Source,
    *,
    labels: LabelSource = None,
    label_column: str | None = None,
    validation: float | Source = 0.1,
    test: float | Source = 0.1,
    seed: int = 0,
    limit: int | None = None,
    mode: str | None = None,
    channels_last: bool | None = None,
    max_pixels: int = 1 << 26,
    memory_limit: int | None = None,
    tokens: Any = "characters",
    length: int | None = None,
    lines: bool = False,
    categories: Sequence[str] = (),
    conditions: Conditions | None = None,
) -> Dataset:
    """Load, check and split data: `digits`, .npy, .npz, .csv, .tsv, .parquet, .txt, .h5, .nii, .dcm, a folder, arrays.

    A folder holds images, or DICOM files; HDF5, NIfTI and DICOM need extras (`hdf5`, `mri`).

    `labels` are one class per item (False ignores those of the source), `label_column` names them in a table.
    `validation` and `test` are shares to hold out (stratified where there are labels) or sources of their own;
    a folder with the sub-folders train and validation or test is split as it says.
    `limit` keeps at most so many items. `mode` converts every image file to L, RGB or RGBA; `channels_last` settles
    array shapes that could be either; `memory_limit` is in bytes (a third of the memory by default; larger image
    folders stay on disk and are decoded as they are needed).
    Texts are cut into `tokens` (`characters`, `bytes`, a tokenizer of Hugging Face or the path of its tokenizer.json),
    in pieces of `length`, or item by item with `lines`; one long text is held out at its end, not at random.
    `categories` names columns of whole numbers that are categories; columns of text are.
    `conditions` are what else is known of each item, in their order: an .npz or .h5 file with arrays `vector`, `tokens`
    or `image`, or those arrays; they are taken as they are.
    Raises UserError, one sentence, for anything wrong.
    """
    given = {
        "source": source,
        "labels": labels,
        "label_column": label_column,
        "validation": validation,
        "test": test,
        "seed": seed,
        "limit": limit,
        "mode": mode,
        "channels_last": channels_last,
        "max_pixels": max_pixels,
        "memory_limit": memory_limit,
        "tokens": tokens,
        "length": length,
        "lines": lines,
        **({} if conditions is None else {"conditions": conditions}),
    }
    _check_options(source, label_column, mode, length)
    reading = Reading(
        labels,
        label_column,
        channels_last,
        Opening(mode, max_pixels),
        memory_limit or default_limit(),
        TextReading(tokens, length, lines),
        tuple(categories),
    )
    name = _name(source)
    whole, validation, test = _folders_of_splits(source, validation, test)
    raw = read(whole, reading)
    if whole is not source:
        raw = replace(raw, messages=(*raw.messages, "split as the folders inside say"))
    if conditions is not None:
        raw = _told(raw, conditions, (validation, test), reading)
    of_others = replace(reading, labels=_for_others(labels))
    parts = _parts(raw, validation, test, 0 if is_builtin(source) else seed, limit, of_others)
    return replace(assemble(name, *parts), origin=_origin(given, categories))


def _told(raw: Raw, conditions: Conditions, others: Sequence[float | Source], reading: Reading) -> Raw:
    """The rows with their conditions. Raises UserError for texts, for splits of their own, for counts that differ."""
    if raw.text is not None:
        raise UserError("conditions are of images, vectors and tables, and texts were given: leave them out")
    if not all(isinstance(part, float | int) for part in others):
        raise UserError(
            "conditions are of the items of one source, and validation or test items of their own were given: hold out "
            "shares, or give one source with all items"
        )
    found = read_conditions(conditions, 1 if raw.layout is None else 2, reading.memory)
    check_rows(found, len(raw), raw.what)
    return replace(raw, conditions=found)


def _origin(given: Mapping[str, Any], categories: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of `load` that read the same data again; None where some of them are arrays."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    readable = all(value is None or isinstance(value, str | bool | int | float) for value in plain.values())
    return {**plain, "categories": tuple(categories)} if readable else None


def _check_options(source: Source, label_column: str | None, mode: str | None, length: int | None) -> None:
    """Raises UserError for what cannot be, and for what would change nothing: that is a misunderstanding."""
    if mode not in _MODES:
        raise UserError(
            f"mode={mode!r} was given, and L, RGB or RGBA was expected (or none, to keep what the files have)."
        )
    suffix = extension(Path(source)) if isinstance(source, str | Path) else ""
    if label_column is not None and suffix not in (".csv", ".tsv", ".parquet"):
        raise UserError(
            f"label_column={label_column!r} was given with {_called(source)}, and columns are named in tables alone: "
            "leave it out (sub-folders are classes, and so is `y` in an .npz)."
        )
    if mode is not None and (suffix in READERS or not isinstance(source, str | Path) or source in BUILTIN):
        raise UserError(f"mode={mode!r} was given with {_called(source)}, and it converts image files: leave it out.")
    if length is not None and (isinstance(length, bool) or length < 2):
        raise UserError(f"length={length} was given, and a number of units of at least 2 was expected.")


def _called(source: Source) -> str:
    return str(source)[:80] if isinstance(source, str | Path) else "an array"


def _folders_of_splits(
    source: Source, validation: float | Source, test: float | Source
) -> tuple[Source, float | Source, float | Source]:
    """A folder whose only sub-folders are `train` and validation or test ones is split already."""
    if not isinstance(source, str | Path) or source in BUILTIN or not (root := located(source)).is_dir():
        return source, validation, test
    inside = {path.name.lower(): path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if "train" not in inside or len(inside) < 2 or not set(inside) <= {"train", *_VALIDATION, "test"}:
        return source, validation, test
    held = next((inside[name] for name in _VALIDATION if name in inside), None)
    return (
        inside["train"],
        held if held is not None and isinstance(validation, float) else validation,
        inside["test"] if "test" in inside and isinstance(test, float) else test,
    )


def _for_others(labels: LabelSource) -> LabelSource:
    """Labels given as an array belong to the first source; a validation source brings its own."""
    return labels if isinstance(labels, bool) else None


def _name(source: Source) -> str:
    if not isinstance(source, str | Path):
        return "array"
    return source if is_builtin(source) else located(source).resolve().name


def _parts(
    raw: Raw, validation: float | Source, test: float | Source, seed: int, limit: int | None, reading: Reading
) -> tuple[Part, Part, Part]:
    if raw.text is not None and raw.text.units is not None:
        return _parts_in_order(raw, validation, test, limit, reading)
    classes = None if raw.labels is None else np.unique(raw.labels, return_inverse=True)[1].reshape(-1)
    kept = np.arange(len(raw))
    if limit is not None:
        if isinstance(limit, bool) or limit < 2:
            raise UserError(f"limit={limit} was given, and a number of items of at least 2 was expected.")
        kept = np.sort(spread_order(len(raw), classes, seed)[:limit])
    shares = [part if isinstance(part, float | int) else 0.0 for part in (validation, test)]
    rows = split(len(kept), None if classes is None else classes[kept], shares[0], shares[1], seed)
    train, *others = [(raw, kept[index]) for index in rows]
    given = [part if isinstance(part, float | int) else read(part, reading) for part in (validation, test)]
    second, third = (
        (source, np.arange(len(source))) if isinstance(source, Raw) else part
        for source, part in zip(given, others, strict=True)
    )
    return train, second, third


def _parts_in_order(
    raw: Raw, validation: float | Source, test: float | Source, limit: int | None, reading: Reading
) -> tuple[Part, Part, Part]:
    """One long text in its own order; `limit` keeps its first pieces."""
    if limit is not None and raw.text is not None and raw.text.units is not None:
        units = raw.text.units[: limit * raw.values.shape[1]]
        raw = replace(raw, values=raw.values[:limit], text=replace(raw.text, units=units))
    shares = [float(part) if isinstance(part, float | int) else 0.0 for part in (validation, test)]
    if min(shares) < 0 or sum(shares) >= 1:
        raise UserError(
            f"Shares of {shares[0]} and {shares[1]} cannot be held out: leave some of the text to train on."
        )
    parts = in_order(raw, *shares)
    same = replace(reading, text=replace(reading.text, length=raw.values.shape[1]))
    given = [part if isinstance(part, float | int) else read(part, same) for part in (validation, test)]
    others = [one if isinstance(one, Raw) else own for one, own in zip(given, parts[1:], strict=True)]
    first, second, third = ((part, np.arange(len(part))) for part in (parts[0], *others))
    return first, second, third
