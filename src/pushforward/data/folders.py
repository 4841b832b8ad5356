"""Folders of images, optionally with one sub-folder per class."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pushforward.data.arrays import choose_labels
from pushforward.data.checks import LARGEST, check_count, counted, option
from pushforward.data.dicom import SUFFIX as DICOM
from pushforward.data.dicom import read_dicom_folder
from pushforward.data.labels import in_order
from pushforward.data.lazy import LazyImages, in_threads
from pushforward.data.limits import human
from pushforward.data.picture import Opening, read_picture
from pushforward.data.pixels import Layout
from pushforward.data.raw import Raw, Reading
from pushforward.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_NAMES = {
    "L": "8-bit grey (L)",
    "RGB": "RGB",
    "RGBA": "RGB with alpha (RGBA)",
    "I;16": "16-bit grey (I;16)",
    "F": "real numbers (F)",
}


@dataclass(frozen=True)
class _Seen:
    """What the scan of one file leaves behind."""

    shape: tuple[int, ...]
    mode: str
    low: float
    high: float
    notes: tuple[str, ...]
    digest: bytes


def read_folder(root: Path, reading: Reading) -> Raw:
    """All images under `root`, in the order of their names, each decoded once to check it.

    Kept in memory where they fit into the limit, decoded again as they are needed otherwise. Raises UserError for an
    empty folder, damaged or oversized files, mixed sizes or modes, and images beside class folders.
    """
    paths, scans, others = _find(root)
    if scans and not paths:
        return read_dicom_folder(root, scans, reading)
    if not paths:
        raise UserError(_nothing(root, others))
    what = str(root)
    check_count(len(paths), what)
    labels, said = _folder_labels(root, paths, reading)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of in damaged or large files is refused or said by us
        first = read_picture(paths[0], reading.opening).pixels
        needed = first.nbytes * len(paths)
        kept = np.empty((len(paths), *first.shape), first.dtype) if needed <= reading.memory else None
        seen = _scan(paths, reading.opening, kept)
    _check_alike(root, paths, seen)
    one = seen[0]
    if one.mode == "F":
        _check_real(paths, seen)
    messages = [*said, *_notes(seen, len(paths))]
    if others:
        messages.append(f"other files ignored: {_counted(others)}")
    if kept is None:
        messages.append(f"decoded as needed: {human(needed)} of pixels are over the limit of {human(reading.memory)}")
    return Raw(
        what,
        LazyImages(tuple(paths), one.shape, first.dtype, reading.opening) if kept is None else kept,
        choose_labels(labels, len(paths), what, reading),
        Layout.PLANE if len(one.shape) == 2 else Layout.LAST,
        one.mode,
        extremes=(min(item.low for item in seen), max(item.high for item in seen)),
        content=np.frombuffer(b"".join(item.digest for item in seen), np.uint8).reshape(len(seen), -1),
        messages=tuple(messages),
    )


def _find(root: Path) -> tuple[list[Path], list[Path], Counter[str]]:
    """Image files in the order of their names, DICOM files, and how many others there are of each extension.

    Hidden files are not looked at; DICOM files count among the others where there are images.
    """
    found: list[Path] = []
    scans: list[Path] = []
    others: Counter[str] = Counter()
    visited = {os.path.realpath(root)}
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = [name for name in names if not name.startswith(".") and _is_new(Path(folder, name), visited)]
        for name in files:
            if name.startswith("."):
                continue
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES:
                found.append(Path(folder, name))
            elif suffix == DICOM:
                scans.append(Path(folder, name))
            else:
                others[suffix or "no extension"] += 1
    if found and scans:
        others[DICOM] += len(scans)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix()), scans, others


def _is_new(folder: Path, visited: set[str]) -> bool:
    """Links to folders are followed, once: they may lead in circles."""
    real = os.path.realpath(folder)
    if real in visited:
        return False
    visited.add(real)
    return True


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common(6)) + (", …" if len(counts) > 6 else "")


def _nothing(root: Path, others: Counter[str]) -> str:
    found = f"only {_counted(others)}" if others else "no files"
    return (
        f"There are no images in {root}: {', '.join(SUFFIXES)} in any case were looked for, in sub-folders too, "
        f"and {found} found. Give the folder that holds the images, or a .npy, .npz, .csv or .parquet file itself."
    )


def _folder_labels(root: Path, paths: Sequence[Path], reading: Reading) -> tuple[np.ndarray | None, list[str]]:
    """One class per sub-folder; none where all images lie in one place."""
    if reading.labels is False or (reading.labels is not None and reading.labels is not True):
        return None, []
    inside = [path.relative_to(root).parts for path in paths]
    loose = [parts[0] for parts in inside if len(parts) == 1]
    names = in_order({parts[0] for parts in inside if len(parts) > 1})
    if loose and names:
        raise UserError(
            f"{root} has {counted(len(loose), 'image')} beside its class folders ({', '.join(names[:5])}), "
            f"first {loose[0]}: move them into the folder of their class, or ignore the classes with "
            f"{option('labels', False)}."
        )
    if len(names) < 2:
        return None, [f"all images lie in {names[0]}/: no classes"] if names else []
    return np.array([parts[0] for parts in inside]), [f"one class per sub-folder: {', '.join(names[:10])}"]


def _scan(paths: Sequence[Path], opening: Opening, kept: np.ndarray | None) -> list[_Seen]:
    """Decode every file once; the pixels of those that are like the first go into `kept`."""

    def look(row: int) -> _Seen:
        picture = read_picture(paths[row], opening)
        pixels = picture.pixels
        if kept is not None and pixels.shape == kept.shape[1:] and pixels.dtype == kept.dtype:
            kept[row] = pixels
        ends = pixels.min().item(), pixels.max().item()
        return _Seen(pixels.shape, picture.mode, *ends, picture.notes, picture.digest)

    return in_threads(look, range(len(paths)))


def _check_alike(root: Path, paths: Sequence[Path], seen: Sequence[_Seen]) -> None:
    modes = Counter(_NAMES[item.mode] for item in seen)
    if len(modes) > 1:
        rare = modes.most_common()[-1][0]
        example = next(path for path, item in zip(paths, seen, strict=True) if _NAMES[item.mode] == rare)
        raise UserError(
            f"{root} mixes colour modes: {_counted(modes)} (a file with {rare}: {_short(root, example)}); nothing was "
            f"converted. Convert all to one mode, e.g. with {option('mode', 'RGB')}, or remove the others."
        )
    sizes = Counter(f"{item.shape[1]}×{item.shape[0]}" for item in seen)
    if len(sizes) > 1:
        rare = sizes.most_common()[-1][0]
        example = next(p for p, item in zip(paths, seen, strict=True) if f"{item.shape[1]}×{item.shape[0]}" == rare)
        shown = ", ".join(f"{count} of {size}" for size, count in sizes.most_common(5)) + (
            ", …" if len(sizes) > 5 else ""
        )
        raise UserError(
            f"{root} mixes image sizes (width×height): {shown} (a file with {rare}: {_short(root, example)}). "
            "Resize or crop all to one size, or remove the others."
        )


def _check_real(paths: Sequence[Path], seen: Sequence[_Seen]) -> None:
    bad = [path for path, item in zip(paths, seen, strict=True) if not -LARGEST <= item.low <= item.high <= LARGEST]
    if bad:
        listed = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
        raise UserError(f"Pixels are not finite in {counted(len(bad), 'image')}: {listed}. Repair or remove them.")


def _short(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _notes(seen: Sequence[_Seen], total: int) -> list[str]:
    counts = Counter(note for item in seen for note in item.notes)
    return [f"{count} of {total} images: each {note}" for note, count in counts.most_common()]
