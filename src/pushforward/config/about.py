"""What a run stores of the data it was trained on, beside the configuration and the format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pushforward.data.dataset import Dataset
from pushforward.data.fingerprint import comparable
from pushforward.errors import UserError


class AboutData(BaseModel):
    """Name, contents as a hash, shape, sizes of the splits, and what was noticed.

    `folder` is the working directory as seen from the run's folder, from which relative paths lead to the data; None
    where the data was given as arrays and cannot be read again.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    name: str
    fingerprint: str
    shape: list[int]
    num_classes: int | None
    sizes: dict[str, int]
    messages: list[str]
    folder: str | None = "."

    @staticmethod
    def of(data: Dataset, out: Path | str) -> AboutData:
        """Of a data set, for a run in the folder `out`."""
        return AboutData(
            name=data.name,
            fingerprint=data.fingerprint,
            shape=list(data.shape),
            num_classes=data.num_classes,
            sizes=_sizes(data),
            messages=list(data.messages),
            folder=None if data.origin is None else _from(Path(out)),
        )

    def is_of(self, data: Dataset) -> bool | None:
        """Whether these are the data described; None where all agrees that can be compared, the contents cannot."""
        if self.fingerprint == data.fingerprint:
            return True
        if comparable(self.fingerprint, data.fingerprint):
            return False
        alike = (self.shape, self.num_classes, self.sizes) == (list(data.shape), data.num_classes, _sizes(data))
        return None if alike else False

    @staticmethod
    def read(stored: Any, path: Path | str) -> AboutData:
        """What is stored in a run at `path`. Raises UserError where it is something else."""
        try:
            return AboutData.model_validate(stored)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(("data", *map(str, first["loc"])))
            raise UserError(
                f"{path} was not written by `pushforward train`: {where} in its config.json is wrong "
                f"({first['msg'][0].lower()}{first['msg'][1:]})"
            ) from None


def untold(run: Path | str) -> str:
    """The note where `is_of` cannot tell."""
    return (
        f"{run} knows its data by a hash of another version of pushforward, so that only their form and number are "
        "compared with what it was trained on"
    )


def _sizes(data: Dataset) -> dict[str, int]:
    return {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}


def _from(out: Path) -> str:
    try:
        return os.path.relpath(Path.cwd(), out.resolve())
    except (OSError, ValueError):  # another drive of Windows, or a directory that is gone
        return "."
