"""Raw data of MRI scanners in the ISMRM format (Inati et al. 2017): acquisitions to Cartesian k-space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from pushforward.data.hdf5 import datasets, inside
from pushforward.data.limits import check_size
from pushforward.errors import UserError

_NOISE, _REVERSED = 19, 22
_LEFT_OUT = (23, 24, 26, 27, 28, 29, 30, 31)
"""Flags of acquisitions that are no lines of the image: navigation, phase correction, feedback, dummies."""
_ITEMS = ("slice", "contrast", "phase", "repetition", "set")
_LONGEST_HEADER, _AT_ONCE, _LARGEST_SIDE = 1 << 22, 256, 1 << 14


@dataclass(frozen=True, eq=False)
class KSpace:
    """Complex64 y (N, coils, H, W), zero frequency in the middle, zeros where nothing was measured.

    One item per slice, contrast, phase, repetition and set; averages are averaged. `mask` (N, 1, H, W) is true where y
    was measured. `noise` is the deviation of each real part in lines that the scanner measured without a signal.
    """

    y: np.ndarray
    mask: np.ndarray
    noise: float | None


@dataclass(frozen=True)
class _Space:
    """Sides of the encoded matrix, and of the image along the readout; what step is the middle one."""

    height: int
    width: int
    kept: int
    middle: int | None


def group_of(file: Any) -> str | None:
    """The name of the group that holds acquisitions; None where the file is of another kind."""
    tables = (name for name in datasets(file) if name.count("/") == 1 and name.endswith("/data"))
    return next((name[:-5] for name in tables if set(file[name].dtype.names or ()) >= {"head", "data"}), None)


def read_kspace(path: Path, file: Any, group: str, limit: int) -> KSpace:
    """All lines of the Cartesian acquisitions of a group, where they belong.

    Oversampling along the readout is taken off where readouts are whole. Raises UserError for other trajectories,
    three-dimensional encodings, lines beyond the matrix, acquisitions shorter than they say, numbers that are not
    finite, and what would not fit into `limit` bytes.
    """
    space, table = _space(path, file[group]), file[group]["data"]
    inside(table, f"{path}[{group}/data]")
    check_size(f"{path}[{group}/data]", len(table) * table.dtype.itemsize, limit)
    heads = table.fields("head")[:]
    flags = heads["flags"]
    chosen = ~_flagged(flags, _NOISE, *_LEFT_OUT)
    if not chosen.any():
        raise UserError(f"{path} has no lines of an image among its {len(heads)} acquisitions.")
    _check_heads(path, heads[chosen])
    keys = np.stack([heads["idx"][name] for name in _ITEMS], 1)
    _, items = np.unique(keys[chosen], axis=0, return_inverse=True)
    number = np.zeros(len(heads), np.int64)
    number[chosen] = items.reshape(-1)
    coils = int(heads["active_channels"][chosen][0])
    shape = (int(number.max()) + 1, coils, space.height, space.width)
    check_size(f"{path}: k-space of shape {shape}", 3 * 8 * math.prod(shape), limit)
    y, count, noise = np.zeros(shape, np.complex64), np.zeros((shape[0], 1, *shape[2:]), np.int32), []
    for i, line in _lines(path, table, heads):
        if _flagged(flags[i : i + 1], _NOISE)[0]:
            noise.append(float(np.mean(np.square(line.real)) + np.mean(np.square(line.imag))) / 2)
        elif chosen[i]:
            row, start = _place(path, heads[i], line.shape[1], space, i)
            y[number[i], :, row, start : start + line.shape[1]] += line
            count[number[i], :, row, start : start + line.shape[1]] += 1
    y /= np.maximum(count, 1)
    return KSpace(*_without_oversampling(y, count > 0, space), float(np.mean(noise)) ** 0.5 if noise else None)


def _space(path: Path, group: Any) -> _Space:
    """What the header in XML says of the first encoding."""
    if "xml" not in group:
        raise UserError(f"{path} has acquisitions and no header (dataset/xml), which says how large the image is.")
    text = group["xml"][()]
    text = text.reshape(-1)[0] if isinstance(text, np.ndarray) else text
    raw = text if isinstance(text, bytes) else str(text).encode()
    # Entities could grow without end; the format has none.
    if len(raw) > _LONGEST_HEADER or b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise UserError(f"{path}: the header in XML is too long or defines entities, which this format does not have.")
    try:
        encoding = ElementTree.fromstring(raw).find("{*}encoding")
        if encoding is None:
            raise ValueError("it has no encoding")
        trajectory = (encoding.findtext("{*}trajectory") or "cartesian").strip().lower()
        height, width, depth = (_whole(encoding, f"{{*}}encodedSpace/{{*}}matrixSize/{{*}}{side}") for side in "yxz")
        kept = _whole(encoding, "{*}reconSpace/{*}matrixSize/{*}x")
        middle = encoding.findtext("{*}encodingLimits/{*}kspace_encoding_step_1/{*}center")
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{path}: the header in XML cannot be understood: {error}.") from error
    if trajectory != "cartesian" or depth != 1:
        raise UserError(
            f"{path} was measured along {'a ' + trajectory + ' trajectory' if depth == 1 else 'three dimensions'}, and "
            "lines of a Cartesian plane were expected: grid it, or transform it along the third dimension, and give "
            "the k-space as a .npy or .h5 of shape (items, coils, H, W)."
        )
    return _Space(height, width, min(kept, width), None if middle is None else int(middle))


def _whole(encoding: ElementTree.Element, where: str) -> int:
    text = encoding.findtext(where)
    name = where.replace("{*}", "")
    if text is None:
        raise ValueError(f"it has no {name}")
    value = int(text)
    if not 1 <= value <= _LARGEST_SIDE:
        raise ValueError(f"{name} is {value}, and 1 to {_LARGEST_SIDE} was expected")
    return value


def _flagged(flags: np.ndarray, *numbers: int) -> np.ndarray:
    """Whether one of the flags is set; the format counts bits from 1."""
    bits = np.uint64(sum(1 << (number - 1) for number in numbers))
    return (flags & bits) != 0


def _check_heads(path: Path, heads: np.ndarray) -> None:
    channels = np.unique(heads["active_channels"])
    if len(channels) != 1 or channels[0] == 0:
        raise UserError(f"{path} has lines of {', '.join(map(str, channels))} coils, and one number was expected.")
    if np.any(heads["encoding_space_ref"] != heads["encoding_space_ref"][0]):
        raise UserError(f"{path} has several encodings, and lines of one Cartesian plane were expected.")
    if np.any(heads["idx"]["kspace_encode_step_2"] > 0):
        raise UserError(f"{path} is encoded in three dimensions, and lines of a plane were expected.")


def _lines(path: Path, table: Any, heads: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Acquisitions (coils, samples), without what they say is to be discarded, a few at a time."""
    for first in range(0, len(heads), _AT_ONCE):
        for i, numbers in enumerate(table.fields("data")[first : first + _AT_ONCE], first):
            head = heads[i]
            coils, samples = int(head["active_channels"]), int(head["number_of_samples"])
            if len(numbers) != 2 * coils * samples:
                raise UserError(
                    f"{path}: acquisition {i} has {len(numbers)} numbers, and {coils} coils of {samples} complex "
                    f"samples are {2 * coils * samples}: the file is damaged."
                )
            line = np.ascontiguousarray(numbers, np.float32).view(np.complex64).reshape(coils, samples)
            if not np.isfinite(line.view(np.float32)).all():
                raise UserError(f"{path}: acquisition {i} has numbers that are not finite.")
            line = line[:, int(head["discard_pre"]) : samples - int(head["discard_post"])]
            yield i, line[:, ::-1] if _flagged(heads["flags"][i : i + 1], _REVERSED)[0] else line


def _place(path: Path, head: np.ndarray, samples: int, space: _Space, i: int) -> tuple[int, int]:
    """The row of a line, and the column of its first sample."""
    step = int(head["idx"]["kspace_encode_step_1"])
    row = step if space.middle is None else step + space.height // 2 - space.middle
    centre = int(head["center_sample"]) - int(head["discard_pre"])
    start = space.width // 2 - centre if 0 < centre < samples else (space.width - samples) // 2
    if not (0 <= row < space.height and start >= 0 and start + samples <= space.width):
        raise UserError(
            f"{path}: acquisition {i} is line {row}, samples {start} to {start + samples}, and the header says that "
            f"the matrix is {space.height}×{space.width}."
        )
    return row, start


def _without_oversampling(y: np.ndarray, mask: np.ndarray, space: _Space) -> tuple[np.ndarray, np.ndarray]:
    """The field of view of the image alone, where readouts are whole; unitary, so that noise keeps its deviation."""
    whole = bool((mask.all(-1) == mask.any(-1)).all())
    if space.kept == space.width or not whole:
        return y, mask
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(y, -1), norm="ortho"), -1)
    first = space.width // 2 - space.kept // 2
    inner = image[..., first : first + space.kept]
    lines = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(inner, -1), norm="ortho"), -1)
    kept = np.ascontiguousarray(np.broadcast_to(mask[..., :1], (*mask.shape[:-1], space.kept)))
    return (lines * kept).astype(np.complex64), kept
