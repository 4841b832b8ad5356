"""A hash of the contents of a data set, which says by which recipe it was made: what a run knows its data by."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from pushforward.data.format import Format
from pushforward.data.raw import Raw

RECIPE = 2
"""To be raised whenever `fingerprint` gives another hash for the same data; runs of another recipe are told apart."""

Part = tuple[Raw, np.ndarray]
"""Some rows of a source."""


def fingerprint(form: Format, parts: Sequence[Part]) -> str:
    """`RECIPE:hash`, the BLAKE2b of the contents of the three splits in order, their labels and class names."""
    digest = blake2b(digest_size=16)
    digest.update(repr((form.shape, form.dtype, form.mode, form.label_names, form.columns)).encode())
    for raw, rows in parts:
        labels = raw.labels_at(rows)
        if labels is not None:
            digest.update("\0".join(map(str, labels.tolist())).encode())
        for name, values in raw.conditions.items():
            digest.update(f"{name}{values.shape}".encode())
            digest.update(np.ascontiguousarray(values[rows]).tobytes())
        for start in range(0, len(rows), 4096):
            content = np.ascontiguousarray(raw.content_at(rows[start : start + 4096]))
            digest.update(f"{content.dtype.str}{content.shape}".encode())
            digest.update(content.data if content.size else b"")
    return f"{RECIPE}:{digest.hexdigest()}"


def comparable(one: str, other: str) -> bool:
    """Whether two fingerprints were made by the same recipe, so that other hashes mean other data.

    Those without a number are older than the numbers.
    """
    return _recipe(one) == _recipe(other)


def _recipe(fingerprint: str) -> str:
    return fingerprint.rpartition(":")[0]
