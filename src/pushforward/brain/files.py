"""Recordings from files: .npz, .mat of every version, .h5, and volumes with a mask."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pushforward.brain.trials import Recording, Trials
from pushforward.data import hdf5, matlab, nifti
from pushforward.data.limits import default_limit
from pushforward.data.npz import load_npz
from pushforward.errors import UserError
from pushforward.numerics.random import key, permutation

KINDS = ".npz, .mat, .h5, or .nii with a mask"
_TRAIN = {
    "voxels": ("voxels_train", "train_voxels", "fmriTrn", "fmri_train", "X_train"),
    "stimuli": ("stimuli_train", "train_stimuli", "stimTrn", "stim_train", "images_train", "Y_train"),
    "labels": ("labels_train", "train_labels", "labelTrn", "y_train"),
}
_TEST = {
    "voxels": ("voxels_test", "test_voxels", "fmriTest", "fmri_test", "X_test"),
    "stimuli": ("stimuli_test", "test_stimuli", "stimTest", "stim_test", "images_test", "Y_test"),
    "labels": ("labels_test", "test_labels", "labelTest", "y_test"),
}
_ALL = {
    "voxels": ("voxels", "fmri", "bold", "betas", "X"),
    "stimuli": ("stimuli", "stim", "images"),
    "labels": ("labels", "label", "y"),
}
_TESTED, _REGIONS = ("test", "is_test", "held_out"), ("regions", "region", "roi", "rois")


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    `names` replaces the name of an array: {"stimuli_train": "pictures"}. `columns` says that flat pictures are written
    column by column, as MATLAB does, with sides `side` (H, W). `classes` are the prior's: stored labels are looked up
    in them, under the names that `renamed` gives, {"1": "six"}. `told` are the prior's other conditions: what arrays of
    their names hold of each stimulus is read too (`vector_train`, `vector_test`, or `vector`). `test` is the share of
    stimuli to hold out where a file has no split. `mask` and `stimuli` are for volumes.
    """

    names: Mapping[str, str] | None = None
    columns: bool = False
    side: tuple[int, int] | None = None
    classes: Sequence[str] | None = None
    renamed: Mapping[str, str] | None = None
    told: Sequence[str] = ()
    test: float = 0.1
    seed: int = 0
    mask: Path | None = None
    stimuli: Path | None = None


def read_recording(path: Path, reading: Reading, limit: int | None = None) -> Recording:
    """What a file holds. Raises UserError for a file that cannot be read, and for names and numbers that do not fit."""
    limit = limit or default_limit()
    if not path.exists():
        raise UserError(f"there is no recording at {path}: {KINDS} was expected")
    arrays = _arrays(path, reading, limit)
    for name, given in (reading.names or {}).items():
        if given not in arrays:
            raise UserError(f"{path} has no array {given!r}{_near(given, arrays)}; it holds {', '.join(arrays)}")
        arrays[name] = arrays[given]
    parts = _split(path, arrays, reading)
    width = parts[0].voxels.shape[1]
    return Recording(*parts, _regions(path, _first(arrays, _REGIONS), width))


def read_arrays(path: Path, limit: int) -> dict[str, np.ndarray]:
    """The arrays of a .npz, .mat or .h5 file by name; those of MATLAB with its axes, trials first."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return load_npz(path, limit)
    if suffix == ".mat":
        return matlab.load_mat(path, limit)
    if suffix in hdf5.SUFFIXES:
        with hdf5.opened(path) as file:
            return {name: hdf5.array(file, name, f"{path}[{name}]", limit) for name in hdf5.datasets(file)}
    raise UserError(f"{path} is no recording that can be read: {KINDS} was expected")


def _arrays(path: Path, reading: Reading, limit: int) -> dict[str, np.ndarray]:
    if not nifti.is_nifti(path):
        if reading.mask is not None:
            raise UserError(f"a mask is for volumes (.nii), and {path} holds arrays: leave it out")
        found = read_arrays(path, limit)
    elif reading.mask is None or reading.stimuli is None:
        raise UserError(
            f"{path} holds volumes: give the mask of the voxels (a .nii) and the stimuli (an .npz, .mat or .h5) as well"
        )
    else:
        voxels, regions = nifti.masked(path, reading.mask, limit)
        found = {"voxels": voxels, "regions": regions}
    return found if reading.stimuli is None else found | read_arrays(reading.stimuli, limit)


def _split(path: Path, arrays: Mapping[str, np.ndarray], reading: Reading) -> tuple[Trials, Trials]:
    """Training and test trials: as the file names them, by its array `test`, or by holding stimuli out."""
    what = (f"the training trials of {path.name}", f"the test trials of {path.name}")
    if all(_first(arrays, names["voxels"]) is not None for names in (_TRAIN, _TEST)):
        return (
            _trials(path, arrays, _TRAIN, what[0], reading, "train"),
            _trials(path, arrays, _TEST, what[1], reading, "test"),
        )
    whole = _trials(path, arrays, _ALL, path.name, reading)
    marked = _first(arrays, _TESTED)
    held = _held_out(whole, reading) if marked is None else np.asarray(marked).reshape(-1).astype(bool)
    if len(held) != len(whole) or held.all() or not held.any():
        raise UserError(f"{path}: the array 'test' marks some, not all, of the {len(whole)} trials; got {held.sum()}")
    train, test = (whole.take(np.flatnonzero(rows)) for rows in (~held, held))
    return replace(train, what=what[0]), replace(test, what=what[1])


def _held_out(trials: Trials, reading: Reading) -> np.ndarray:
    """A share of the stimuli with all their trials."""
    groups = trials.groups
    count = int(groups.max()) + 1
    if count < 5:
        raise UserError(
            f"{trials.what} has no split, and {count} different stimuli are too few to hold some out: at least 5 are "
            "needed"
        )
    if not 0 < reading.test < 1:
        raise UserError(f"the share of stimuli to hold out lies between 0 and 1; got {reading.test}")
    chosen = permutation(key(reading.seed, "held out"), count)[: max(2, round(reading.test * count))].numpy()
    return np.isin(groups, chosen)


def _trials(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[str]],
    what: str,
    reading: Reading,
    part: str = "",
) -> Trials:
    voxels, stimuli = (_first(arrays, names[kind]) for kind in ("voxels", "stimuli"))
    for kind, found in (("voxels", voxels), ("stimuli", stimuli)):
        if found is None:
            held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
            raise UserError(
                f"{path} has no {kind} under a name that is known ({', '.join(names[kind])}); it holds {held}: say "
                f"which by --name {names[kind][0]}=NAME"
            )
    assert voxels is not None
    assert stimuli is not None
    labels = _first(arrays, names["labels"])
    known = None if labels is None else _classes(labels, reading, what)
    told = {name: _first(arrays, (f"{name}_{part}", f"{part}_{name}") if part else (name,)) for name in reading.told}
    conditions = {name: values for name, values in told.items() if values is not None}
    return Trials(voxels, pictures(stimuli, reading), known, what, conditions)


def pictures(stimuli: np.ndarray, reading: Reading) -> np.ndarray:
    """Flat pictures (n, H·W) as (n, H, W), read by rows or by columns; others as they are.

    Raises UserError where the sides are not told and not those of a square.
    """
    if stimuli.ndim != 2 or (not reading.columns and reading.side is None):
        return stimuli
    height, width = reading.side or _square(stimuli.shape[1])
    if height * width != stimuli.shape[1]:
        raise UserError(f"flat stimuli of {stimuli.shape[1]} numbers are no pictures of {height}×{width}")
    if reading.columns:
        return np.ascontiguousarray(stimuli.reshape(-1, width, height).transpose(0, 2, 1))
    return stimuli.reshape(-1, height, width)


def _square(count: int) -> tuple[int, int]:
    side = round(count**0.5)
    if side * side != count:
        raise UserError(f"flat stimuli of {count} numbers are no square: say their sides, e.g. --side 20x30")
    return side, side


def _classes(labels: np.ndarray, reading: Reading, what: str) -> np.ndarray | None:
    """Stored labels as numbers of the prior's classes; None where the prior knows no classes."""
    if reading.classes is None:
        return None
    names = {name: number for number, name in enumerate(reading.classes)}
    given = [(reading.renamed or {}).get(name, name) for name in map(_name, labels.reshape(-1).tolist())]
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise UserError(
            f"the label {unknown!r} of {what} is none that the prior knows ({', '.join(names)}): write the names of "
            "the prior's classes, or leave the labels out"
        )
    return np.array([names[name] for name in given], dtype=np.int64)


def _regions(path: Path, marks: np.ndarray | None, width: int) -> dict[str, np.ndarray]:
    """Names of regions, one to each voxel, as masks; numbers are names too, 0 and '' none."""
    if marks is None:
        return {}
    flat = np.asarray(marks).reshape(-1)
    if len(flat) != width:
        raise UserError(f"{path} names the regions of {len(flat)} voxels, and there are {width}")
    given = np.array([_name(value) for value in flat.tolist()])
    return {name: given == name for name in dict.fromkeys(given.tolist()) if name not in ("", "0")}


def _name(value: object) -> str:
    """A name as text: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def _first(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _near(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
