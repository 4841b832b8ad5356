"""HDF5 files: arrays by name, read without following anything that leads out of the file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.arrays import read_array
from pushforward.data.extras import brief, optional_package
from pushforward.data.limits import check_size
from pushforward.data.npz import choose_names
from pushforward.data.raw import Raw, Reading
from pushforward.errors import UserError

SUFFIXES = (".h5", ".hdf5", ".mrd")
_BUILT_IN = {1, 2, 3, 4, 5, 6, 32000}
"""Filters that come with the library (deflate … scale-offset, LZF): all others would load a plug-in."""
_PARTS = (("r", "i"), ("real", "imag"))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, read only. Raises UserError where it is none, is damaged, or h5py is not installed."""
    h5py = optional_package("h5py", "HDF5 files (.h5)", "hdf5")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # damage shows as nearly every type, in the middle of reading too
        raise UserError(f"{path} is not a readable HDF5 file or cut short ({brief(error)}): write it again.") from error


def read_h5(path: Path, reading: Reading) -> Raw:
    """The dataset named x, images, data or values (or the only one), with labels under y or labels."""
    with opened(path) as file:
        chosen, labelled = choose_names(path, tuple(datasets(file)))
        values = array(file, chosen, f"{path}[{chosen}]", reading.memory)
        labels = None
        if labelled is not None and reading.labels is not False:
            labels = array(file, labelled, f"{path}[{labelled}]", reading.memory)
    return read_array(values, labels, f"{path}[{chosen}]", reading)


def datasets(file: Any) -> list[str]:
    """The names of the datasets at the top of a file; those in groups have theirs by path, `group/name`."""
    h5py, found = optional_package("h5py", "HDF5 files (.h5)", "hdf5"), []

    def look(group: Any, before: str, depth: int) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue  # links may lead anywhere
            kind = group.get(name, getclass=True)
            if kind is h5py.Dataset:
                found.append(before + name)
            elif kind is h5py.Group and depth < 4:
                look(group[name], f"{before}{name}/", depth + 1)

    look(file, "", 0)
    return found


def array(file: Any, name: str, what: str, limit: int) -> np.ndarray:
    """One dataset of numbers, checked before it is read. Raises UserError for objects, links and what is too large."""
    dataset = file[name]
    inside(dataset, what)
    dtype, shape = dataset.dtype, dataset.shape
    if shape is None or dtype.hasobject or (dtype.kind not in "biufcSU" and _parts(dtype) is None):
        raise UserError(f"{what} holds {dtype}, and plain numbers were expected: write integers, floats or complex.")
    check_size(f"{what}, of shape {shape} and dtype {dtype},", math.prod(shape) * dtype.itemsize, limit)
    values: np.ndarray = np.asarray(dataset[()])
    parts = _parts(dtype)
    return values if parts is None else values[parts[0]] + 1j * values[parts[1]]


def inside(dataset: Any, what: str) -> None:
    """Raise UserError where numbers lie in other files, or would be read by a plug-in."""
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if dataset.is_virtual or dataset.external:
        raise UserError(f"{what} takes its numbers from other files: write them into the file itself.")
    if not filters <= _BUILT_IN:
        raise UserError(f"{what} is packed by a plug-in of HDF5: write it with compression='gzip', or without.")


def _parts(dtype: np.dtype) -> tuple[str, str] | None:
    """The names of real and imaginary part, where a pair of numbers is a complex one."""
    for pair in _PARTS:
        if dtype.names == pair and all(dtype[name].kind == "f" for name in pair):
            return pair
    return None


def write_h5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Arrays by name, compressed by gzip."""
    h5py = optional_package("h5py", "HDF5 files (.h5)", "hdf5")
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            text = values.dtype.kind == "U"
            numbers = values.astype(h5py.string_dtype()) if text else values
            file.create_dataset(name, data=numbers, compression="gzip" if numbers.ndim and not text else None)
