"""What a run says of itself without its model: written with every checkpoint, and read back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pushforward.config.about import AboutData, untold
from pushforward.config.datasets import load_data
from pushforward.config.read import validate
from pushforward.config.schema import Config
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format
from pushforward.errors import UserError
from pushforward.training.checkpoint import Checkpoint
from pushforward.training.folder import find_checkpoint

SCHEMA = 1
"""The version of what is stored; readers accept every version up to their own."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What a run says of itself: its configuration, the form of its data, and the checkpoint it was read from."""

    path: Path
    config: Config
    format: Format
    checkpoint: Checkpoint
    about_data: AboutData

    @property
    def home(self) -> Path:
        """The folder of the run, also where a checkpoint within it was named."""
        return self.path.parent.parent if self.path == self.checkpoint.path else self.path

    @property
    def total(self) -> int:
        """The steps the run was planned for."""
        return int(self.checkpoint.state["total"])

    def data(self) -> Dataset:
        """The data that the run was trained on, read again. Raises UserError where it is gone or another."""
        if self.about_data.folder is None:
            raise UserError(
                f"the data of {self.path} was given from Python as arrays and is not stored with it: pass it again "
                "where it is needed"
            )
        try:
            data = load_data(self.config, self.home / self.about_data.folder)
        except UserError as error:
            raise UserError(f"the data of {self.path} cannot be read again: {error}") from None
        same = self.about_data.is_of(data)
        if same is False:
            raise UserError(
                f"{self.config.data.source!r} has changed since {self.path} was trained on it: put back what it was"
            )
        return data if same else replace(data, messages=(*data.messages, untold(self.path)))


def describe(config: Config, data: Dataset, out: Path | str) -> dict[str, Any]:
    """What is stored with every checkpoint: enough to build the model again and to read and write the user's data."""
    return {
        "schema": SCHEMA,
        "config": config.model_dump(mode="json"),
        "format": data.format.to_dict(),
        "data": AboutData.of(data, out).model_dump(mode="json"),
    }


def read_stored(path: Path | str, which: str = "best") -> Stored:
    """What a run, or one of its checkpoints, says of itself.

    `which` is the `best` checkpoint on the validation split, or the `last`.
    Raises UserError: there is no run, it is not one of ours, or it was written by a later version.
    """
    checkpoint = find_checkpoint(path, which)
    stored = checkpoint.config
    if "tours" in stored:
        raise UserError(f"{path} is a prior of tours: ask it by `pushforward tsp solve cities.csv --run {path}`")
    if type(stored.get("schema")) is not int or not all(part in stored for part in ("config", "format", "data")):
        raise UserError(f"{path} was not written by `pushforward train`: its config.json has no configuration")
    if stored["schema"] > SCHEMA:
        raise UserError(f"{path} was written by a later version of pushforward (schema {stored['schema']}): update it")
    missing = {"total", "seconds", "torch", "value"} - checkpoint.state.keys()
    if missing:
        raise UserError(f"{path} was not written by `pushforward train`: its state.json has no {min(missing)}")
    about = AboutData.read(stored["data"], path)
    return Stored(Path(path), validate(stored["config"]), Format.from_dict(stored["format"]), checkpoint, about)
