"""DICOM pictures (.dcm, or a folder of them), in the units that their rescaling says, through pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.arrays import read_array
from pushforward.data.extras import brief, optional_package
from pushforward.data.limits import check_size
from pushforward.data.raw import Raw, Reading
from pushforward.errors import UserError

SUFFIX = ".dcm"
_LARGEST_SIDE, _LARGEST_COUNT = 1 << 16, 1 << 20


def read_dicom(path: Path, reading: Reading) -> Raw:
    """The frames of one file as pictures (N, H, W) or (N, H, W, 3)."""
    return read_array(frames([path], reading.memory), None, str(path), reading)


def read_dicom_folder(root: Path, paths: Sequence[Path], reading: Reading) -> Raw:
    """One picture per frame of each file, by series and number of the instance."""
    return read_array(frames(paths, reading.memory), None, str(root), reading)


def frames(paths: Sequence[Path], limit: int) -> np.ndarray:
    """(N, H, W) or (N, H, W, 3), whole numbers where all are. Raises UserError for damage, other sizes, too many."""
    files = sorted(((path, _header(path)) for path in paths), key=lambda pair: _order(*pair))
    first_path, first = files[0]
    shape = _shape(first_path, first)
    total = 0
    for path, header in files:
        found = _shape(path, header)
        if found[1:] != shape[1:]:
            raise UserError(
                f"{path} holds pictures of {found[1:]}, and those of {first_path} are {shape[1:]}: one size is needed."
            )
        total += found[0]
    check_size(f"{total} pictures of {shape[1:]}", 2 * 8 * total * int(np.prod(shape[1:])), limit)
    values = np.concatenate([_values(path, header, _shape(path, header)) for path, header in files])
    if np.array_equal(values, np.rint(values)):
        low, high = float(values.min()), float(values.max())
        for dtype in (np.uint8, np.int16, np.uint16, np.int32):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return values.astype(dtype)
    return values.astype(np.float32)


def write_dicom(values: np.ndarray, path: Path, like: Path) -> None:
    """Pictures (N, H, W) as a derived image with the patient, study and geometry of the file `like`, 16 bits.

    Linear in the values, by a slope and an intercept of its own, so that what is read back differs by at most 1/65535
    of their range.
    """
    optional_package("pydicom", "DICOM files", "mri")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    derived = _header(like)
    if _shape(like, derived) != values.shape:
        raise UserError(f"{like} holds pictures {_shape(like, derived)}, and {values.shape} are to be written like it.")
    low, high = float(values.min()), float(values.max())
    slope = (high - low) / 0xFFFF or 1.0
    stored = np.rint((values.astype(np.float64) - low) / slope).astype("<u2")
    derived.PixelData = stored.tobytes()
    derived["PixelData"].VR = "OW"
    derived.BitsAllocated = derived.BitsStored = 16
    derived.HighBit, derived.PixelRepresentation, derived.SamplesPerPixel = 15, 0, 1
    derived.PhotometricInterpretation = "MONOCHROME2"
    derived.RescaleSlope, derived.RescaleIntercept = f"{slope:.10g}"[:16], f"{low:.10g}"[:16]
    for name in (
        "SmallestImagePixelValue",
        "LargestImagePixelValue",
        "PixelPaddingValue",
        "WindowCenter",
        "WindowWidth",
    ):
        if name in derived:
            delattr(derived, name)
    kind = list(derived.get("ImageType", []))
    derived.ImageType = ["DERIVED", "SECONDARY", *kind[2:]]
    derived.SeriesInstanceUID, derived.SOPInstanceUID = generate_uid(prefix=None), generate_uid(prefix=None)
    derived.file_meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    derived.save_as(path, enforce_file_format=True)


def _header(path: Path) -> Any:
    pydicom = optional_package("pydicom", "DICOM files (.dcm)", "mri")
    try:
        return pydicom.dcmread(path)
    except Exception as error:
        raise UserError(f"{path} is not a readable DICOM file ({brief(error)}): export it again.") from error


def _order(path: Path, header: Any) -> tuple[str, int, str]:
    try:
        number = int(header.get("InstanceNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return str(header.get("SeriesInstanceUID", "")), number, path.name


def _shape(path: Path, header: Any) -> tuple[int, ...]:
    """(frames, H, W) or (frames, H, W, 3) as the header says, within reason."""
    try:
        rows, columns = int(header.Rows), int(header.Columns)
        count, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no picture ({brief(error)}).") from error
    fits = 0 < rows <= _LARGEST_SIDE and 0 < columns <= _LARGEST_SIDE and 0 < count <= _LARGEST_COUNT
    if not fits or samples not in (1, 3):
        raise UserError(f"{path} says that it holds {count} pictures of {rows}×{columns} with {samples} channels.")
    return (count, rows, columns) if samples == 1 else (count, rows, columns, samples)


def _values(path: Path, header: Any, shape: tuple[int, ...]) -> np.ndarray:
    from pydicom.pixels import apply_rescale

    try:
        values = apply_rescale(header.pixel_array, header).astype(np.float64)
    except Exception as error:  # each transfer syntax has decoders of its own
        syntax = getattr(getattr(header.file_meta, "TransferSyntaxUID", None), "name", "unknown")
        raise UserError(
            f"the pixels of {path} ({syntax}) cannot be decoded ({brief(error)}): export it without compression."
        ) from error
    if values.size != int(np.prod(shape)) or not np.isfinite(values).all():
        raise UserError(f"{path} has {values.size} finite numbers or others, and {int(np.prod(shape))} were expected.")
    return values.reshape(shape)
