"""One source of data, whatever it is, as rows that are checked and not yet split."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

import numpy as np
from torch import Tensor

from pushforward.data.arrays import read_array
from pushforward.data.builtin import BUILTIN
from pushforward.data.dicom import read_dicom
from pushforward.data.folders import read_folder
from pushforward.data.hdf5 import read_h5
from pushforward.data.nifti import read_nifti
from pushforward.data.npz import read_npy, read_npz
from pushforward.data.parquet import read_parquet
from pushforward.data.raw import Raw, Reading
from pushforward.data.tables import read_csv
from pushforward.data.text import read_text
from pushforward.errors import UserError

Source = str | Path | np.ndarray | Tensor | tuple
"""A built-in name, a path, an array (N, …), or a pair (array, labels)."""

READERS: dict[str, Callable[[Path, Reading], Raw]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".h5": read_h5,
    ".hdf5": read_h5,
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    ".dcm": read_dicom,
    ".txt": read_text,
}


def read(source: Source, reading: Reading) -> Raw:
    """The rows of one source, checked but not split."""
    if isinstance(source, tuple):
        if len(source) != 2:
            raise UserError(f"A tuple of {len(source)} was given, and (values, labels) was expected.")
        return read_array(source[0], source[1], "the array", reading)
    if isinstance(source, np.ndarray | Tensor):
        return read_array(source, None, "the array", reading)
    if not isinstance(source, str | Path):
        raise UserError(
            f"Data of type {type(source).__name__} was given, and a path, name, array or tensor was expected."
        )
    if is_builtin(source):
        return BUILTIN[source]()
    return _read_path(located(source), reading)


def _read_path(path: Path, reading: Reading) -> Raw:
    if path.is_dir():
        return read_folder(path, reading)
    reader = READERS.get(extension(path))
    if reader is None:
        raise UserError(
            f"{path} ends in {path.suffix or 'nothing'}, and {', '.join(READERS)} or a folder of images was expected: "
            "convert it to one of these."
        )
    return reader(path, reading)


def extension(path: Path) -> str:
    """What a name ends in, in small letters: .nii.gz is one extension."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def is_builtin(source: Source) -> TypeGuard[str]:
    """Whether it is the name of data that comes with the installation."""
    return isinstance(source, str) and source in BUILTIN


def located(source: str | Path) -> Path:
    """The path with ~ expanded, or UserError where nothing is there."""
    try:
        path = Path(source).expanduser()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{str(source)[:80]!r} is not a usable path ({str(error)[:80]}): check it.") from error
    if not exists:
        raise UserError(f"There is no data at {str(path)!r}{_nearest(path)}: check the path.")
    return path


def _nearest(path: Path) -> str:
    try:
        here = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        here = []
    close = difflib.get_close_matches(path.name, [*here, *BUILTIN], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
