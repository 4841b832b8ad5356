"""Files with measurements: arrays of any kind, raw data of scanners, volumes and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pushforward.data import dicom, hdf5, ismrmrd, nifti
from pushforward.data.limits import default_limit
from pushforward.data.npz import load_npy, load_npz
from pushforward.data.picture import FORMATS, Opening, read_picture
from pushforward.errors import UserError

KINDS = ".npz, .npy, .h5 (arrays, or ISMRMRD), .nii, .nii.gz, .dcm or an image"
_NAMES = ("y", "kspace", "measurement")


@dataclass(frozen=True, eq=False)
class Measured:
    """y as it was found, and what else its file knows: the true items, what was measured of y, the noise's deviation.

    `mask` is (items, 1, H, W), or of any shape that a Mask takes.
    """

    y: np.ndarray
    x: np.ndarray | None = None
    mask: np.ndarray | None = None
    noise: float | None = None


def read_measured(path: Path, limit: int | None = None) -> Measured:
    """What a file holds. Raises UserError, in one sentence, for what is damaged, too large, or no measurement."""
    limit = limit or default_limit()
    if not path.is_file():
        raise UserError(f"there is no measurement at {path}; {KINDS} was expected")
    if nifti.is_nifti(path):
        return Measured(nifti.slices(path, limit))
    return _READERS.get(path.suffix.lower(), _picture)(path, limit)


def _npz(path: Path, limit: int) -> Measured:
    return _chosen(path, load_npz(path, limit))


def _hdf5(path: Path, limit: int) -> Measured:
    with hdf5.opened(path) as file:
        group = ismrmrd.group_of(file)
        if group is not None:
            found = ismrmrd.read_kspace(path, file, group, limit)
            return Measured(found.y, None, found.mask, found.noise)
        names = [name for name in hdf5.datasets(file) if name in (*_NAMES, "x", "mask")] or hdf5.datasets(file)[:2]
        return _chosen(path, {name: hdf5.array(file, name, f"{path}[{name}]", limit) for name in names})


def _chosen(path: Path, arrays: dict[str, np.ndarray]) -> Measured:
    name = next((name for name in _NAMES if name in arrays), next(iter(arrays)) if len(arrays) == 1 else None)
    if name is None:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}; expected the measurement as y")
    return Measured(_numbers(path, arrays[name]), arrays.get("x"), arrays.get("mask"))


def _numbers(path: Path, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind not in "biufc":
        raise UserError(f"{path} holds {y.dtype}, and the numbers of a measurement were expected")
    if not y.size:
        raise UserError(f"{path} holds a measurement of no numbers, of the shape {y.shape}")
    # Of any byte order and precision, as PyTorch takes it.
    return y.astype(np.complex128 if y.dtype.kind == "c" else np.float64)


def _picture(path: Path, limit: int) -> Measured:
    try:
        pixels = read_picture(path, Opening()).pixels
    except UserError as error:
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"):
            raise UserError(f"{path} is no measurement: {KINDS} ({' / '.join(FORMATS)}) was expected") from error
        raise
    # One picture is one item: the channels of a colour picture are not three grey ones.
    return Measured(pixels.transpose(2, 0, 1)[None] if pixels.ndim == 3 else pixels)


_READERS: dict[str, Callable[[Path, int], Measured]] = {
    ".npz": _npz,
    ".npy": lambda path, limit: Measured(_numbers(path, load_npy(path, limit))),
    **dict.fromkeys(hdf5.SUFFIXES, _hdf5),
    ".dcm": lambda path, limit: Measured(_first_channels(dicom.frames([path], limit))),
}


def _first_channels(frames: np.ndarray) -> np.ndarray:
    return frames.transpose(0, 3, 1, 2) if frames.ndim == 4 else frames
