"""MATLAB files of numbers: version 5 through SciPy, version 7.3, which is HDF5 with its axes turned round."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pushforward.data import hdf5
from pushforward.data.extras import brief
from pushforward.data.limits import check_size
from pushforward.errors import UserError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_SIZES = {"double": 8, "single": 4, "int64": 8, "uint64": 8, "int32": 4, "uint32": 4, "int16": 2, "uint16": 2}


def load_mat(path: Path, limit: int) -> dict[str, np.ndarray]:
    """The numeric arrays at the top of a .mat file by name, with the axes that MATLAB shows, of ≤ `limit` bytes each.

    Structures, cells and objects are left out. Raises UserError for what cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(520)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    # a file of version 7.3 begins with 512 bytes for people, then it is HDF5
    return _newer(path, limit) if _HDF5 in (start[:8], start[512:520]) else _older(path, limit)


def _newer(path: Path, limit: int) -> dict[str, np.ndarray]:
    with hdf5.opened(path) as file:
        names = [name for name in file if not name.startswith("#") and name in set(hdf5.datasets(file))]
        plain = [name for name in names if file[name].dtype.kind in "biuf"]
        return {name: hdf5.array(file, name, f"{path}[{name}]", limit).T for name in plain}


def _older(path: Path, limit: int) -> dict[str, np.ndarray]:
    from scipy.io import loadmat, whosmat

    try:
        known = [(name, shape) for name, shape, kind in whosmat(path) if kind in {*_SIZES, "int8", "uint8", "logical"}]
        for name, shape in known:
            check_size(f"{path}[{name}], of shape {shape},", 8 * math.prod(shape), limit)
        found = loadmat(path, variable_names=[name for name, _ in known])
    except UserError:
        raise
    except Exception as error:  # a damaged file shows as nearly every type
        raise UserError(
            f"{path} is not a readable MATLAB file or cut short ({brief(error)}): write it again."
        ) from error
    return {name: np.ascontiguousarray(found[name]) for name, _ in known if name in found}
