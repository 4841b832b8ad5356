"""The data set that the section `data` of a configuration names, and the section that names a data set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushforward.config.family_schema.card import NO_TARGET, CardConfig
from pushforward.config.schema import AUGMENTATIONS, Config, DataConfig
from pushforward.data import sources
from pushforward.data.builtin import BUILTIN
from pushforward.data.dataset import Dataset
from pushforward.data.paired import load_paired
from pushforward.errors import UserError


def load_data(config: Config, folder: Path | None = None) -> Dataset:
    """The data set that a configuration names; relative paths are looked for in `folder` first."""
    given = config.data.model_dump(exclude={"split_seed", "target", "classify", *AUGMENTATIONS})
    if folder is not None:
        given |= {name: _found_in(folder, given[name]) for name in ("source", "validation", "test", "conditions")}
    if config.data.target is not None:
        return _load_paired(config.data, given)
    if isinstance(config.model, CardConfig):
        raise UserError(NO_TARGET)
    return sources.load(**given, seed=config.data.split_seed)


def _load_paired(config: DataConfig, given: Mapping[str, Any]) -> Dataset:
    """A table with a response. Raises UserError for settings that have no meaning there."""
    meant = ("source", "validation", "test", "limit", "memory_limit")
    usual = DataConfig()
    for name, value in given.items():
        if name not in (*meant, "max_pixels") and value != getattr(usual, name):
            raise UserError(f"data.{name} has no meaning where a target is predicted: leave it out")
    if not config.target:
        raise UserError("data.target names no column: name the column to predict, or leave it out")
    if given["source"] in BUILTIN:
        raise UserError(f"{given['source']} has no columns to predict: give a .csv, .tsv or .parquet table")
    parts = {name: given[name] for name in meant}
    return load_paired(target=config.target, classify=config.classify, seed=config.split_seed, **parts)


def _found_in(folder: Path, source: Any) -> Any:
    """The source in that folder, where it is a path that is there."""
    if not isinstance(source, str) or source in BUILTIN:
        return source
    with contextlib.suppress(OSError, ValueError):
        if (folder / source).exists():
            return os.path.relpath(folder / source)
    return source


def data_config(data: Dataset, config: DataConfig) -> DataConfig:
    """The section of a configuration with what reads this very data set again, where that is known."""
    if data.origin is None:
        return config.model_copy(update={"source": data.name})
    read = {("split_seed" if name == "seed" else name): value for name, value in data.origin.items()}
    return config.model_copy(update=read)
