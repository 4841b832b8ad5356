"""Data that comes with the installation, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pushforward.data.pixels import Layout
from pushforward.data.raw import Raw


def digits() -> Raw:
    """1,797 handwritten digits of 8×8 pixels, 0 … 16 (UCI optical recognition, test part; scikit-learn's copy)."""
    from sklearn.datasets import load_digits  # its import takes a second: only for those who use it

    found = load_digits()
    images, labels = found["images"].astype(np.uint8), found["target"].astype(np.int64)
    return Raw("digits", images, labels, Layout.PLANE)


BUILTIN: dict[str, Callable[[], Raw]] = {"digits": digits}
