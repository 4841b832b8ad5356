"""NIfTI volumes (.nii, .nii.gz), whose slices along the third axis are pictures, through nibabel."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.arrays import read_array
from pushforward.data.extras import brief, optional_package
from pushforward.data.limits import check_size
from pushforward.data.raw import Raw, Reading
from pushforward.errors import UserError


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path, reading: Reading) -> Raw:
    """The slices of a volume (X, Y, Z), or of volumes (X, Y, Z, T), as pictures (N, Y, X)."""
    return read_array(slices(path, reading.memory), None, str(path), reading)


def slices(path: Path, limit: int) -> np.ndarray:
    """(N, Y, X) in the units of the file. Raises UserError for damage, colour, and what is larger than `limit`."""
    _, values = _opened(path, limit)
    planes = values.reshape(*values.shape[:2], -1)
    return np.ascontiguousarray(planes.transpose(2, 1, 0))


def masked(path: Path, mask: Path, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of volumes (X, Y, Z, T) inside a mask, as (T, p), and the mask's own number at each, (p,).

    Raises UserError for a mask of another grid (shape or affine), or one that marks nothing.
    """
    image, values = _opened(path, limit)
    place, marks = _opened(mask, limit)
    if values.ndim != 4 or marks.shape != values.shape[:3]:
        raise UserError(
            f"{path} has the shape {values.shape} and the mask {mask} the shape {marks.shape}: volumes (X, Y, Z, "
            "trials) and a mask of their first three axes were expected"
        )
    if not np.allclose(image.affine, place.affine, atol=1e-3):
        raise UserError(f"{path} and {mask} lie differently in space (their affines differ): resample the mask first")
    inside = marks != 0
    if not inside.any():
        raise UserError(f"the mask {mask} marks no voxel")
    return np.ascontiguousarray(values[inside].T), marks[inside]


def write_nifti(values: np.ndarray, path: Path, like: Path | None = None, name: str = "") -> None:
    """Pictures (N, Y, X) as slices of a volume, in the place and with the axes of the file `like`, if given.

    `name` says how the file is called where it is written under another, temporary one: `.nii.gz` is compressed.
    """
    nibabel = optional_package("nibabel", "NIfTI files", "mri")
    volume = np.ascontiguousarray(values.transpose(2, 1, 0))
    volume = volume.astype(np.uint8) if volume.dtype == bool else volume
    volume = volume.astype(np.float32) if volume.dtype == np.float16 else volume
    affine = np.eye(4)
    if like is not None:
        image = _loaded(like)
        affine = image.affine
        volume = volume.reshape(image.shape) if volume.size == math.prod(image.shape) else volume
    content = nibabel.Nifti1Image(volume, affine, dtype=volume.dtype).to_bytes()
    path.write_bytes(gzip.compress(content, mtime=0) if (name or path.name).lower().endswith(".gz") else content)


def _opened(path: Path, limit: int) -> tuple[Any, np.ndarray]:
    image = _loaded(path)
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) not in (2, 3, 4) or 0 in shape or dtype.kind not in "biuf":
        raise UserError(
            f"{path} holds numbers of dtype {dtype} and shape {shape}, and a grey volume (X, Y, Z) or (X, Y, Z, T) was "
            "expected."
        )
    check_size(f"{path}, of shape {shape},", 8 * math.prod(shape), limit)
    try:
        return image, np.asarray(image.dataobj)
    except Exception as error:  # gzip, memory maps and nibabel each have their own
        raise UserError(f"{path} is cut short or damaged ({brief(error)}): write it again.") from error


def _loaded(path: Path) -> Any:
    nibabel = optional_package("nibabel", "NIfTI files (.nii)", "mri")
    try:
        image = nibabel.load(path)
    except Exception as error:
        raise UserError(f"{path} is not a readable NIfTI file ({brief(error)}): write it again.") from error
    if not isinstance(image, nibabel.Nifti1Image | nibabel.Nifti2Image):
        raise UserError(f"{path} is of the kind {type(image).__name__}, and a NIfTI file was expected.")
    return image
