"""`pushforward check`: read data as training would, and say what it would see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.output import DEFAULT, Common

if TYPE_CHECKING:
    from pushforward.data.dataset import Dataset


def check(
    data: Annotated[str, Parameter(name="DATA", help="`digits`, a folder of images, or a file")],
    /,
    *,
    label_column: Annotated[str | None, Parameter(help="the column of a table that holds the class")] = None,
    settings: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative=(), show_default=False, help="any setting of the data, e.g. data.test=0.2"),
    ] = (),
    common: Common = DEFAULT,
) -> None:
    """Read and check data: every file is opened, every number looked at; nothing is written."""
    from pushforward import api

    entries = {"data": {"source": data, "label_column": label_column}}
    found = api.load_data(api.configure(*settings, entries=entries))
    common.result(_values(found), *_lines(found))


def _values(data: Dataset) -> dict[str, Any]:
    form = data.format
    return {
        "name": data.name,
        "kind": form.kind.value,
        "shape": list(data.shape),
        "dtype": str(form.dtype),
        "columns": form.columns,
        "labels": form.label_names,
        "counts": _counts(data),
        "sizes": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "messages": data.messages,
        "fingerprint": data.fingerprint,
    }


def _lines(data: Dataset) -> Iterator[str]:
    yield from data.messages
    counts = _counts(data)
    if counts:
        shown = [f"{name} {count}" for name, count in list(counts.items())[:20]]
        yield f"classes in the training split: {', '.join(shown)}{', …' if len(counts) > 20 else ''}"
    yield "the data can be trained on"


def _counts(data: Dataset) -> dict[str, int] | None:
    import numpy as np

    names, labels = data.format.label_names, data.train.labels
    if names is None or labels is None:
        return None
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))
