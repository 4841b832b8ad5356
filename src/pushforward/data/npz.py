"""NumPy files, read without pickle and never larger than they may be."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from pushforward.data.arrays import read_array
from pushforward.data.limits import check_size
from pushforward.data.raw import Raw, Reading
from pushforward.errors import UserError

VALUE_KEYS = ("x", "X", "images", "image", "data", "values", "x_train", "X_train", "train_images", "arr_0", "samples")
LABEL_KEYS = ("y", "Y", "labels", "label", "targets", "target", "y_train", "train_labels", "arr_1")
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(path: Path, reading: Reading) -> Raw:
    """One array. Raises UserError for damaged files, Python objects and arrays over the memory limit."""
    return read_array(load_npy(path, reading.memory), None, str(path), reading)


def load_npy(path: Path, limit: int) -> np.ndarray:
    """The numbers of a .npy file, of at most `limit` bytes."""
    try:
        with path.open("rb") as file:
            return _read(file, str(path), limit)
    except UserError:
        raise
    except Exception as error:  # the header is parsed text: damaged bytes raise many types
        raise _damaged(str(path), error) from error


def load_npz(path: Path, limit: int) -> dict[str, np.ndarray]:
    """All arrays of an .npz file by name, of at most `limit` bytes each."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): _member(archive, name, f"{path}[{name}]", limit) for name in names}
    except UserError:
        raise
    except Exception as error:  # as above
        raise _damaged(str(path), error) from error


def read_npz(path: Path, reading: Reading) -> Raw:
    """The array named x, images, data or values (or the only one), with labels under y or labels."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            chosen, labelled = choose_names(path, tuple(names))
            values = _member(archive, names[chosen], f"{path}[{chosen}]", reading.memory)
            labels = None
            if labelled is not None and reading.labels is not False:
                labels = _member(archive, names[labelled], f"{path}[{labelled}]", reading.memory)
    except UserError:
        raise
    except Exception as error:  # zip, decompression and header errors have a dozen types between them
        raise _damaged(str(path), error) from error
    return read_array(values, labels, f"{path}[{chosen}]", reading)


def choose_names(path: Path, names: tuple[str, ...]) -> tuple[str, str | None]:
    """Of the names in a file, those of values and labels. Raises UserError where it is not plain which they are."""
    labelled = next((key for key in LABEL_KEYS if key in names), None)
    others = [name for name in names if name != labelled]
    chosen = next((key for key in VALUE_KEYS if key in others), others[0] if len(others) == 1 else None)
    if chosen is None:
        have = ", ".join(names[:8]) or "no arrays"
        raise UserError(
            f"{path} holds {have}, and an array named x, images, data or values (labels: y or labels) was expected: "
            "rename it with numpy.savez(file, x=…, y=…)."
        )
    return chosen, labelled


def _member(archive: zipfile.ZipFile, name: str, what: str, limit: int) -> np.ndarray:
    with archive.open(name) as file:
        return _read(file, what, limit)


def _read(file: IO[bytes], what: str, limit: int) -> np.ndarray:
    """Read one array after its header has been checked: what it declares is what it would allocate."""
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format")
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise UserError(
            f"{what} holds Python objects, which need pickle and can run code: "
            "save plain numbers, e.g. numpy.save(file, array.astype('float32'))."
        )
    if any(side < 0 for side in shape):
        raise ValueError(f"the shape {shape}")
    count = math.prod(shape)
    check_size(f"{what}, of shape {shape} and dtype {dtype},", count * dtype.itemsize, limit)
    array = _fill(file, count, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _fill(file: IO[bytes], count: int, dtype: np.dtype) -> np.ndarray:
    """`count` numbers, grown as bytes arrive: a header that promises more than the file has allocates nothing more."""
    data = bytearray()
    wanted = count * dtype.itemsize
    while len(data) < wanted:
        block = file.read(min(1 << 24, wanted - len(data)))
        if not block:
            raise ValueError(f"{wanted:,} bytes of numbers declared, {len(data):,} found")
        data += block
    return np.frombuffer(data, dtype=dtype, count=count) if wanted else np.empty(count, dtype)


def _damaged(what: str, error: Exception) -> UserError:
    said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return UserError(f"{what} is not a readable NumPy file or is cut short ({said}): save it again with numpy.save.")
