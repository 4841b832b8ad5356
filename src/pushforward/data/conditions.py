"""What else is known of each item, from a file or from arrays: vectors, tokens, images, one entry per item."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from pushforward.data import hdf5
from pushforward.data.checks import check_numbers
from pushforward.data.npz import load_npz
from pushforward.errors import UserError
from pushforward.networks.conditions import NAMES

MASK = "tokens_mask"
KNOWN = (*NAMES, MASK)
Conditions = str | Path | Mapping[str, np.ndarray | Tensor]
"""A file with arrays of these names, or the arrays."""


def read_conditions(source: Conditions, places: int, memory: int) -> dict[str, np.ndarray]:
    """The conditions that a source holds, float32 (N, …) by name: vector (N, d), tokens (N, L, d), image (N, C, …).

    An image has `places` sides and may come without its channel; a `tokens_mask` (N, L) says which tokens are there.
    Raises UserError where there is none, and for arrays of other kinds.
    """
    arrays, what = _arrays(source, memory)
    found = {name: arrays[name] for name in KNOWN if name in arrays}
    if not found or set(found) == {MASK}:
        held = ", ".join(arrays) or "nothing"
        raise UserError(f"{what} holds {held}, and arrays named {', '.join(NAMES)} were expected, one entry per item")
    return {name: _checked(name, values, f"{what}[{name}]", places) for name, values in found.items()}


def check_rows(conditions: Mapping[str, np.ndarray], items: int, what: str) -> None:
    """Raise UserError where there is not one entry per item."""
    for name, values in conditions.items():
        if len(values) != items:
            raise UserError(
                f"the condition {name} has {len(values)} entries for the {items} items of {what}: give one each"
            )


def _arrays(source: Conditions, memory: int) -> tuple[Mapping[str, np.ndarray], str]:
    if isinstance(source, Mapping):
        return {name: np.asarray(values) for name, values in source.items()}, "the conditions"
    path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(
            f"there are no conditions at {path}: an .npz or .h5 with arrays {', '.join(NAMES)} was expected"
        )
    if path.suffix.lower() in hdf5.SUFFIXES:
        with hdf5.opened(path) as file:
            names = [name for name in hdf5.datasets(file) if name in KNOWN]
            return {name: hdf5.array(file, name, f"{path}[{name}]", memory) for name in names}, str(path)
    if path.suffix.lower() != ".npz":
        raise UserError(f"conditions are read from .npz and .h5 files; got {path}")
    return load_npz(path, memory), str(path)


def _checked(name: str, values: np.ndarray, what: str, places: int) -> np.ndarray:
    values = check_numbers(np.asarray(values), what)
    if name == "image" and values.ndim == 1 + places:
        values = values[:, None]
    wanted = {"vector": 2, "tokens": 3, MASK: 2, "image": 2 + places}[name]
    if values.ndim != wanted or 0 in values.shape:
        raise UserError(f"{what} has the shape {values.shape}, and an array of {wanted} axes was expected, items first")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{what} has values that are not finite: remove or fill them")
    return values
