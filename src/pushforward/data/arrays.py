"""Arrays in memory: what their shape says they are."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pushforward.data.checks import check_count, check_finite, check_numbers, clean_labels, option
from pushforward.data.limits import check_size
from pushforward.data.pixels import Layout
from pushforward.data.raw import Raw, Reading
from pushforward.errors import UserError

_CHANNELS = (1, 3, 4)


def to_numpy(source: np.ndarray | Tensor) -> np.ndarray:
    """A tensor's numbers as a NumPy array (bfloat16, which NumPy lacks, becomes float32)."""
    if not isinstance(source, Tensor):
        return np.asarray(source)
    tensor = source.detach().cpu()
    return (tensor if tensor.element_size() > 2 or not tensor.is_floating_point() else tensor.float()).numpy()


def read_array(source: np.ndarray | Tensor, found_labels: object, what: str, reading: Reading) -> Raw:
    """(N, D) vectors, (N, H, W), (N, C, H, W) or (N, H, W, C) images with C in 1, 3, 4. Raises UserError otherwise."""
    values = check_numbers(to_numpy(source), what)
    check_size(what, values.nbytes, reading.memory)
    layout = _layout(values.shape, what, reading.channels_last)
    check_count(len(values), what)
    check_finite(values, what)
    return Raw(what, values, choose_labels(found_labels, len(values), what, reading), layout)


def choose_labels(found: object, count: int, what: str, reading: Reading) -> np.ndarray | None:
    """The labels given by the caller, else those that the source has; None where there are none or they are refused."""
    if reading.labels is False:
        return None
    given = found if reading.labels is None or reading.labels is True else reading.labels
    if given is None:
        if reading.labels is True:
            raise UserError(f"{what} has no labels, and labels=True asks for them: give the labels themselves.")
        return None
    return clean_labels(to_numpy(given) if isinstance(given, Tensor) else given, count, what)


def _layout(shape: tuple[int, ...], what: str, channels_last: bool | None) -> Layout | None:
    if 0 in shape[1:] or len(shape) not in (2, 3, 4):
        raise UserError(
            f"{what} has the shape {shape}, and (N, D) for vectors or (N, H, W), (N, C, H, W), (N, H, W, C) for images "
            "was expected: reshape it (one number per item is (N, 1))."
        )
    if len(shape) < 4:
        return Layout.PLANE if len(shape) == 3 else None
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if first and last and channels_last is None:
        raise UserError(
            f"{what} has the shape {shape}, which could be (N, C, H, W) or (N, H, W, C): say which with "
            f"{option('channels_last', True)} or False."
        )
    if first and channels_last is not True:
        return Layout.FIRST
    if last and channels_last is not False:
        return Layout.LAST
    raise UserError(
        f"{what} has the shape {shape}, and images (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 channels were expected: "
        "transpose it, or flatten it to (N, D)."
    )
