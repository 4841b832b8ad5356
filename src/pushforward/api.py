"""The library in a few calls: data, fit, load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from pushforward.config.presets import preset as preset_entries
from pushforward.config.read import read_config, read_toml
from pushforward.config.run import Run, load_data, load_run, train
from pushforward.config.schema import Config
from pushforward.data.dataset import Dataset
from pushforward.data.sources import load as data
from pushforward.training.observers import Observer

__all__ = ["configure", "data", "fit", "load", "load_data"]


def configure(
    *settings: str,
    preset: str = "edm",
    file: str | Path | None = None,
    entries: Mapping[str, Any] | None = None,
) -> Config:
    """A validated configuration: a preset, over it a TOML file, then entries, then `a.b=c` settings.

    >>> configure("training.steps=100", preset="ddpm").model.prediction
    'noise'
    """
    layers = [preset_entries(preset), read_toml(Path(file)) if file else {}, entries or {}]
    return read_config(layers, settings)


def fit(
    source: Dataset,
    out: str | Path,
    config: Config | None = None,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    network: nn.Module | None = None,
    start_from: str | Path | None = None,
    observers: Sequence[Observer] = (),
    restart: bool = False,
    device: str | None = None,
) -> Run:
    """Train on a data set in the folder `out`, or continue there, and return the run with its best weights.

    `steps`, `minutes`, `seed` and `device` override the configuration's. Raises UserError for wrong input,
    NumericalError where training diverges, Interrupted after SIGINT or SIGTERM (everything is saved).
    """
    config = config or Config()
    given = {"seed": seed, "device": device}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if steps is not None or minutes is not None:
        changes |= {"steps": steps, "minutes": minutes}
    entries = {**config.model_dump(), "training": {**config.training.model_dump(), **changes}}
    config = read_config([entries])
    train(config, source, out, network=network, start_from=start_from, observers=observers, restart=restart)
    return load_run(out, network=network, device=device)


def load(path: str | Path, *, which: str = "best", network: nn.Module | None = None, device: str | None = None) -> Run:
    """Read a trained run: `load("runs/digits").generator.sample(16)`. Raises UserError where there is none."""
    return load_run(path, which=which, network=network, device=device)
