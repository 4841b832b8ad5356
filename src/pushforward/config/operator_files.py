"""What an operator file names: arrays beside it, and what the measurement itself says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.data.limits import default_limit
from pushforward.data.measured import Measured
from pushforward.data.npz import load_npy
from pushforward.data.picture import Opening, read_picture
from pushforward.errors import UserError

MEASURED = "measured"


@dataclass(frozen=True)
class Source:
    """The folder of an operator file, and the measurement, where there is one."""

    folder: Path
    measurement: Measured | None = None

    def array(self, name: str) -> np.ndarray:
        """A .npy, or an image as grey, as numbers. Raises UserError where it cannot be read."""
        path = self.folder / name
        if not path.is_file():
            raise UserError(f"{path}, which the operator names, cannot be read: there is no such file")
        if path.suffix.lower() == ".npy":
            found = load_npy(path, default_limit())
            if found.dtype.kind not in "biufc":
                raise UserError(f"{path}, which the operator names, holds {found.dtype}: numbers were expected")
            return found.astype(found.dtype.newbyteorder("="))
        return read_picture(path, Opening("L")).pixels

    def mask(self, name: str) -> Tensor:
        """A mask of that name; `measured` is that of the measurement, or where it is not 0 in any of its channels."""
        if name != MEASURED:
            return torch.from_numpy(self.array(name) != 0)
        measured = self.taken("its mask")
        if measured.mask is not None:
            return torch.from_numpy(measured.mask != 0)
        y = measured.y if measured.y.ndim == 4 else measured.y.reshape(-1, 1, *measured.y.shape[-2:])
        return torch.from_numpy((y != 0).any(1, keepdims=True))

    def of_coils(self) -> Source:
        """Where one item was measured by several coils, (coils, H, W), with its axis of items."""
        measured = self.measurement
        if measured is None or measured.y.ndim != 3:
            return self
        return replace(self, measurement=replace(measured, y=measured.y[None]))

    def taken(self, what: str) -> Measured:
        """The measurement. Raises UserError where there is none yet."""
        if self.measurement is None:
            raise UserError(f"the operator takes {what} from the measurement, so that it can restore and not simulate")
        return self.measurement


def image(kind: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W). Raises UserError where items are no images."""
    if len(shape) != 3:
        raise UserError(f"kind = {kind} acts on images, and the items here have the shape {shape}")
    return shape[0], shape[1], shape[2]
