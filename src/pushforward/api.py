"""The library in a few calls: dataset, configure, fit, load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from pushforward.config.advising import advice_on
from pushforward.config.bounding import bound
from pushforward.config.calibrating import calibrate
from pushforward.config.datasets import data_config, load_data
from pushforward.config.decoding import brain
from pushforward.config.editing import edit
from pushforward.config.latents import encode, interpolate
from pushforward.config.predicting import predict
from pushforward.config.presets import preset as preset_entries
from pushforward.config.read import family_of, read_config, read_toml
from pushforward.config.recommending import recommended
from pushforward.config.restoring import checked_likelihood, restore, simulate
from pushforward.config.run import Run, load_run
from pushforward.config.schema import Config
from pushforward.config.scoring import likelihood
from pushforward.config.stored import Stored, read_stored
from pushforward.config.telling import telling
from pushforward.config.tempering import tempered
from pushforward.config.training import train
from pushforward.config.tuning import effort_of, tune
from pushforward.data.dataset import Dataset
from pushforward.data.sources import load as dataset
from pushforward.models.predictor import Predictor
from pushforward.training.observers import Observer
from pushforward.training.previews import previews
from pushforward.training.progress import ProgressBar

__all__ = [
    "Run",
    "Stored",
    "advice_on",
    "bound",
    "brain",
    "calibrate",
    "checked_likelihood",
    "configure",
    "dataset",
    "edit",
    "effort_of",
    "encode",
    "fit",
    "interpolate",
    "likelihood",
    "load",
    "load_data",
    "predict",
    "recommended",
    "restore",
    "simulate",
    "stored",
    "telling",
    "tune",
]


def configure(
    *settings: str,
    preset: str | None = None,
    file: str | Path | None = None,
    entries: Mapping[str, Any] | None = None,
    start_from: str | Path | None = None,
) -> Config:
    """A validated configuration: a preset, over it a TOML file, then entries, then `a.b=c` settings.

    The preset is by default the usual one of the family that is asked for. With `start_from`, a run, its model takes
    the place of the preset's, so that its weights fit.

    >>> configure("training.steps=100", preset="ddpm").model.prediction
    'noise'
    """
    layers = [read_toml(Path(file)) if file else {}, entries or {}]
    base = preset_entries(preset, family_of(layers, settings))
    if start_from is not None:
        base = {"model": read_stored(start_from).config.model_dump()["model"]}
    return read_config([base, *layers], settings)


def fit(
    source: Dataset | str | Path,
    out: str | Path,
    config: Config | None = None,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    network: nn.Module | None = None,
    start_from: str | Path | None = None,
    observers: Sequence[Observer] | None = None,
    restart: bool = False,
    device: str | None = None,
) -> Run:
    """Train on data in the folder `out`, or continue there, and return the run with its best weights.

    Args:
        source: a data set, or what `dataset` takes by name or path (then the run can read it again by itself).
        out: the folder of the run.
        config: what to train and how; see `configure`.
        steps, minutes, seed, device: override those of the configuration; of steps and minutes give one.
        network: your own, `net(x, time, label=None)`; the run is loaded by passing it again.
        start_from: a run whose best weights are the starting point.
        observers: what watches the training beside the log; by default progress and previews, as on the command line.
        restart: begin anew where there is a run already; the old one is moved aside.

    Raises:
        UserError: wrong input. NumericalError: training diverged. Interrupted: SIGINT or SIGTERM; all is saved.
    """
    config = config or Config()
    given = {"seed": seed, "device": device}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if steps is not None or minutes is not None:
        changes |= {"steps": steps, "minutes": minutes}
    entries = {**config.model_dump(), "training": {**config.training.model_dump(), **changes}}
    if isinstance(source, Dataset):
        entries["data"] = data_config(source, config.data).model_dump()
    else:
        entries["data"] = {**entries["data"], "source": str(source)}
    config = read_config([entries])
    items = source if isinstance(source, Dataset) else load_data(config)
    if observers is None:
        observers = ProgressBar(), previews(Path(out), items.format)
    outcome = train(config, items, out, network=network, start_from=start_from, observers=observers, restart=restart)
    run = load_run(out, network=network, device=config.training.device, outcome=outcome)
    if isinstance(run.generator, Predictor):
        tempered(run, run.generator, items)
    return run


def load(path: str | Path, *, which: str = "best", network: nn.Module | None = None, device: str | None = None) -> Run:
    """Read a trained run: `load("runs/digits").generator.sample(16)`. Raises UserError where there is none."""
    return load_run(path, which=which, network=network, device=device)


def stored(path: str | Path, which: str = "best") -> Stored:
    """What is stored with a run, without building its model. Raises UserError where there is none."""
    return read_stored(path, which)
