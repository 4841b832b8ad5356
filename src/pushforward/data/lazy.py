"""Images that stay on disk and are decoded when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from pushforward.data.picture import Opening, read_picture
from pushforward.errors import UserError

A = TypeVar("A")
B = TypeVar("B")


def in_threads(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """`function` of each item, in order; Pillow decodes outside Python's lock, so threads help."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


@dataclass(frozen=True, eq=False)
class LazyImages:
    """Rows by index like an array (N, *item): `images[indices]` decodes those files."""

    paths: tuple[Path, ...]
    item: tuple[int, ...]
    dtype: np.dtype
    opening: Opening

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.paths), *self.item)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: np.ndarray | Sequence[int] | slice) -> np.ndarray:
        rows = np.arange(len(self))[indices].reshape(-1)
        out = np.empty((len(rows), *self.item), self.dtype)
        for place, pixels in enumerate(in_threads(self._decode, rows.tolist())):
            out[place] = pixels
        return out

    def take(self, rows: np.ndarray) -> LazyImages:
        """The images of these rows, still on disk."""
        return LazyImages(tuple(self.paths[i] for i in rows.tolist()), self.item, self.dtype, self.opening)

    def _decode(self, row: int) -> np.ndarray:
        pixels = read_picture(self.paths[row], self.opening).pixels
        if pixels.shape != self.item or pixels.dtype != self.dtype:
            raise UserError(
                f"{self.paths[row]} is now {'×'.join(map(str, pixels.shape))} {pixels.dtype}, and was "
                f"{'×'.join(map(str, self.item))} {self.dtype} when the data was loaded: restore the file."
            )
        return pixels
