"""Samples in the user's own form to a file whose kind its name says."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from pushforward.data.atomic import check_free, write_file, write_folder
from pushforward.data.columns import Columns
from pushforward.data.extras import optional_package
from pushforward.data.format import Format
from pushforward.data.hdf5 import write_h5
from pushforward.data.labels import Labels
from pushforward.data.nifti import is_nifti, write_nifti
from pushforward.data.parquet import pyarrow_parquet
from pushforward.data.pixels import Layout, Pixels
from pushforward.data.tokens import Tokens
from pushforward.errors import UserError

_GAP = 1
"""Pixels between the images of a grid."""


def save_samples(values: np.ndarray, labels: np.ndarray | None, form: Format, path: str | Path) -> Path:
    """Write items (N, *item_shape) in the user's form, with class indices (N,) or None, atomically.

    Texts (N,) go to `.txt` or `.jsonl`.
    `.png` is a grid, a name without extension a folder of PNG files (with one sub-folder per class where there are
    labels), `.npz` and `.h5` hold x and y, `.npy` the values, `.nii` and `.nii.gz` slices of a volume, `.csv`, `.tsv`
    and `.parquet` a table. 16-bit grey stays 16-bit.
    Raises UserError where the name does not fit the data.
    """
    path, values = Path(path).expanduser(), np.asarray(values)
    check_name(path, form)
    if values.shape[1:] != form.item_shape or (labels is not None and len(labels) != len(values)):
        raise UserError(
            f"Samples of shape {values.shape} with {'no' if labels is None else len(labels)} labels were given, and "
            f"(N, {', '.join(map(str, form.item_shape))}) with N labels or none was expected."
        )
    if labels is not None and form.labels is None:
        raise UserError("Labels were given with samples of data that has no classes: leave them out.")
    if _is_folder(path):
        write_folder(path, partial(_write_images, values, labels, form))
    else:
        write_file(path, partial(_WRITERS[_suffix(path)], values, labels, form))
    return path


def check_name(path: str | Path, form: Format) -> None:
    """Raise UserError where samples of this form cannot be written under this name: best before they are drawn."""
    path = Path(path).expanduser()
    suffix, images = _suffix(path), isinstance(form.coding, Pixels)
    texts = isinstance(form.coding, Tokens)
    if texts != (suffix in _TEXTS) and not (texts and suffix in (".npz", ".npy")):
        what = f"the samples are {'texts' if texts else 'no texts'}"
        wanted = (
            ".txt, .jsonl, .npz or .npy" if texts else ".png, .npz, .npy, .csv, .tsv, .parquet, .h5, .nii or a folder"
        )
        raise UserError(f"{path} does not fit: {what}, so use {wanted}.")
    if _is_folder(path):
        check_free(path)
    elif suffix not in _WRITERS:
        raise UserError(
            f"{path} ends in {suffix}, and {', '.join(_WRITERS)} or a folder (a name without extension) was expected."
        )
    if not images and (_is_folder(path) or suffix == ".png"):
        raise UserError(
            f"{path} asks for images, and the samples are rows of numbers: use .csv, .tsv, .parquet, .npz or .npy."
        )
    if images and suffix in _TABLES and not _is_folder(path):
        raise UserError(f"{path} asks for a table, and the samples are images: use .png, .npz, .npy or a folder.")
    if suffix in _VOLUMES and (not images or form.shape[0] != 1):
        raise UserError(
            f"{path} asks for a volume of grey slices, and the samples are no grey images: use .npz or .npy."
        )
    if suffix == ".parquet":
        pyarrow_parquet()
    elif suffix in _VOLUMES:
        optional_package("nibabel", "NIfTI files (.nii)", "mri")
    elif suffix in (".h5", ".hdf5"):
        optional_package("h5py", "HDF5 files (.h5)", "hdf5")


def _suffix(path: Path) -> str:
    return ".nii.gz" if is_nifti(path) and path.suffix.lower() == ".gz" else path.suffix.lower()


def _is_folder(path: Path) -> bool:
    return path.suffix == "" or path.is_dir()


def image_array(values: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The user's images as (N, H, W) or (N, H, W, C), uint8 or uint16 over the full range of levels for a viewer.

    8- and 16-bit data that uses its whole range is unchanged; other ranges (0 … 16, [0, 1]) are stretched.
    """
    if pixels.layout is Layout.FIRST:
        values = values.transpose(0, 2, 3, 1)
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    if pixels.mode is not None and pixels.dtype in ("uint8", "uint16"):
        return values  # pixels of image files go back as they came
    deep = pixels.dtype == "uint16" and values.ndim == 3  # image files of 16-bit colour are beyond Pillow
    level = (values.astype(np.float64) - pixels.low) / (pixels.high - pixels.low or 1.0)
    top, dtype = (0xFFFF, np.uint16) if deep else (0xFF, np.uint8)
    return np.rint(np.clip(level, 0, 1) * top).astype(dtype)


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) to one picture, row by row, nearly square unless the number of columns is given."""
    count, height, width = images.shape[:3]
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, *images.shape[3:])
    out = np.zeros(shape, images.dtype)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + _GAP), (i % columns) * (width + _GAP)
        out[top : top + height, left : left + width] = image
    return out


def _write_grid(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path) -> None:
    if not len(values):
        raise UserError("There are no samples to draw: ask for at least one.")
    Image.fromarray(grid(image_array(values, cast(Pixels, form.coding)))).save(path)


def _write_images(values: np.ndarray, labels: np.ndarray | None, form: Format, folder: Path) -> None:
    pixels = cast(Pixels, form.coding)
    folders = [folder] * len(values)
    if labels is not None and form.labels is not None:
        names = _folder_names(form.labels.names)
        folders = [folder / names[i] for i in np.asarray(labels).tolist()]
        for name in set(folders):
            name.mkdir()
    digits = max(5, len(str(len(values))))
    for i, image in enumerate(image_array(values, pixels)):
        Image.fromarray(image).save(folders[i] / f"{i:0{digits}d}.png")


def _folder_names(classes: Sequence[str]) -> list[str]:
    """One folder per class, whatever the classes are called."""
    found: list[str] = []
    for name in map(_safe, classes):
        while name in found:
            name += "_"
        found.append(name)
    return found


def _safe(name: str) -> str:
    """A class name as the name of one folder: a stored name must not lead elsewhere."""
    kept = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in name)
    return kept if kept.strip(". ") else f"class_{kept.replace('.', '_')}"


def _named(values: np.ndarray, labels: np.ndarray | None, form: Format) -> dict[str, Any]:
    arrays: dict[str, Any] = {"x": values}
    if labels is not None and form.labels is not None:
        arrays["y"] = form.labels.decode(labels)
    if form.columns is not None:
        arrays["columns"] = np.array(form.columns)
    return arrays


def _write_npz(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **_named(values, labels, form))


def _write_hdf5(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path) -> None:
    write_h5(path, _named(values, labels, form))


def _write_volume(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path, name: str) -> None:
    write_nifti(values.reshape(len(values), *form.shape[1:]), path, name=name)


def _write_npy(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _table(values: np.ndarray, labels: np.ndarray | None, form: Format) -> dict[str, np.ndarray]:
    """Columns by name, each in its own dtype, the label column where it was."""
    coding = cast(Columns, form.coding)
    names = coding.names or tuple(f"column_{i}" for i in range(len(coding.dtypes)))
    found = [(name, coding.named(values[:, i], i)) for i, name in enumerate(names)]
    if labels is not None and form.labels is not None:
        position = len(found) if form.labels.position is None else form.labels.position
        found.insert(position, (_label_name(form.labels, names), form.labels.decode(labels)))
    return dict(found)


def _label_name(labels: Labels, names: tuple[str, ...]) -> str:
    name = labels.column or "label"
    while name in names:
        name += "_"
    return name


def _write_text(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path, delimiter: str) -> None:
    columns = _table(values, labels, form)
    # NumPy's own text of a number is the shortest that reads back as the same number of its dtype.
    texts = [
        column.astype(np.uint8 if column.dtype == bool else column.dtype).astype(str) for column in columns.values()
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(text.tolist() for text in texts), strict=True))


def _write_parquet(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path) -> None:
    parquet = pyarrow_parquet()
    import pyarrow

    parquet.write_table(pyarrow.table(_table(values, labels, form)), path)


def _write_txt(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path) -> None:
    """Items one per line where they are lines; pieces of a long text with a line of dashes between."""
    coding = cast(Tokens, form.coding)
    between = "\n" if coding.ends else f"\n{'-' * 72}\n"
    path.write_text(between.join(map(str, values.tolist())) + "\n", encoding="utf-8")


def _write_jsonl(values: np.ndarray, labels: np.ndarray | None, form: Format, path: Path) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in values.tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


_WRITERS: dict[str, Callable[[np.ndarray, np.ndarray | None, Format, Path], None]] = {
    ".png": _write_grid,
    ".npz": _write_npz,
    ".npy": _write_npy,
    ".csv": partial(_write_text, delimiter=","),
    ".tsv": partial(_write_text, delimiter="\t"),
    ".parquet": _write_parquet,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".nii": partial(_write_volume, name=".nii"),
    ".nii.gz": partial(_write_volume, name=".nii.gz"),
    ".txt": _write_txt,
    ".jsonl": _write_jsonl,
}
_VOLUMES = (".nii", ".nii.gz")
_TEXTS = (".txt", ".jsonl")
_TABLES = (".csv", ".tsv", ".parquet")
