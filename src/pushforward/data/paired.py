"""A table with a response as a data set: read, checked, split, measured."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from pushforward.data.checks import counted
from pushforward.data.dataset import Dataset, Split
from pushforward.data.format import Format
from pushforward.data.frame_files import read_frame
from pushforward.data.frames import Frame
from pushforward.data.pairing import Pairing, class_names, pair
from pushforward.data.splits import split, spread_order
from pushforward.errors import UserError

LEAST_ROWS = 10


def load_paired(
    source: str | Path | Frame,
    target: Sequence[str],
    *,
    classify: bool | None = None,
    validation: float | str = 0.1,
    test: float | str = 0.1,
    seed: int = 0,
    limit: int | None = None,
    memory_limit: int | None = None,
) -> Dataset:
    """Rows of a .csv, .tsv or .parquet table whose columns `target` are the response of all others.

    `validation` and `test` are shares to hold out (stratified where classes are predicted) or tables of their own.
    Text columns are categories; a response of text is a class, or of numbers where `classify` says so. Raises
    UserError, naming columns, for missing values, a response that is missing or constant, too few rows.
    """
    whole = source if isinstance(source, Frame) else read_frame(source, memory_limit)
    name = whole.what if isinstance(source, Frame) else Path(source).name
    if len(set(target)) < len(target):
        raise UserError(f"the response {target[0]!r} was named twice")
    pair(whole, target, np.arange(len(whole)), classify)  # what is wrong with the table, before it is split
    classes = _classes(whole, target, classify)
    kept = np.arange(len(whole))
    if limit is not None:
        kept = np.sort(spread_order(len(whole), classes, seed)[:limit])
    if len(kept) < LEAST_ROWS:
        raise UserError(
            f"{whole.what} has {counted(len(kept), 'row')}, and at least {LEAST_ROWS} are needed: add more."
        )
    first, second = (float(part) if isinstance(part, float | int) else 0.0 for part in (validation, test))
    found = split(len(kept), None if classes is None else classes[kept], first, second, seed)
    train, *others = (kept[rows] for rows in found)
    pairing = pair(whole, target, train, classify)
    form = Format(pairing)
    held = [
        _split(
            whole.take(rows)
            if isinstance(part, float | int)
            else read_frame(part, memory_limit, pairing.texts, (*pairing.names_used, *target)),
            pairing,
            form,
        )
        for rows, part in zip(others, (validation, test), strict=True)
    ]
    splits = (_split(whole.take(train), pairing, form), held[0], held[1])
    origin = None
    if not isinstance(source, Frame):
        origin = {"source": str(source), "target": tuple(target), "classify": classify, "validation": validation}
        origin |= {"test": test, "seed": seed, "limit": limit, "memory_limit": memory_limit}
    said, digest = _messages(name, pairing, splits), _fingerprint(pairing, splits)
    return Dataset(name, *splits, form, said, digest, origin)


def _classes(frame: Frame, target: Sequence[str], classify: bool | None) -> np.ndarray | None:
    """Class numbers of each row, where classes are predicted."""
    if classify is False or (classify is None and not frame.is_text(target[0])):
        return None
    return np.unique(class_names(frame, target[0]), return_inverse=True)[1].reshape(-1)


def _split(frame: Frame, pairing: Pairing, form: Format) -> Split:
    values = pairing.raw(frame) if len(frame) else np.zeros((0, *pairing.item_shape))
    return Split(values, None, form)


def _messages(name: str, pairing: Pairing, splits: Sequence[Split]) -> tuple[str, ...]:
    counts = " · ".join(f"{what} {len(s)}" for what, s in zip(("train", "validation", "test"), splits, strict=True))
    total = sum(len(s) for s in splits)
    said = [f"{name} · {total:,} rows · {len(pairing.features)} features → {', '.join(pairing.targets)} · {counts}"]
    if pairing.classes is not None:
        said.append(f"predicts one of {len(pairing.classes.names)} classes: {', '.join(pairing.classes.names[:20])}")
    else:
        said.append("predicts numbers (features and response standardised on training rows)")
        said += [f"response {r.name} is written in steps of {r.step:g}" for r in pairing.responses if r.step >= 1e-3]
    said += [
        f"column {f.name} has {len(f.categories)} categories" for f in pairing.features if f.categories is not None
    ]
    said += [f"column {f.name} is constant ({f.offset:g}): left out" for f in pairing.features if f.constant]
    return tuple(said[:40])


def _fingerprint(pairing: Pairing, splits: Sequence[Split]) -> str:
    digest = blake2b(digest_size=16)
    digest.update(repr((pairing.targets, [(f.name, f.categories) for f in pairing.features])).encode())
    for part in splits:
        values = np.ascontiguousarray(part.values)
        digest.update(f"{values.shape}".encode())
        digest.update(values.data if values.size else b"")
    return f"pair-1:{digest.hexdigest()}"
