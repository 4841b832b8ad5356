"""A run: the folder that training writes, and what is read back from it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pushforward.config.about import AboutData
from pushforward.config.build import build_model, build_recipe, hollow_model, resolve
from pushforward.config.family_schema import ModelConfig
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.latent import LatentConfig
from pushforward.config.family_schema.networks import CustomNetworkConfig
from pushforward.config.first_stage import first_stage_observers, make_ready, set_aside_whole
from pushforward.config.read import validate
from pushforward.config.schema import AUGMENTATIONS, Config, DataConfig
from pushforward.data import sources
from pushforward.data.builtin import BUILTIN
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format
from pushforward.data.paired import load_paired
from pushforward.errors import PushforwardError, UserError
from pushforward.models.denoising import (
    DiffusionGenerator,
    LatentGenerator,
    as_denoising,
    as_sampled,
    generator_of,
)
from pushforward.models.family import Family, Items, Prepares
from pushforward.models.generator import Generator
from pushforward.models.latent import Latent, LatentItems
from pushforward.training.checkpoint import (
    SUFFIX,
    Checkpoint,
    initialise_from,
    load_weights,
    mismatch,
)
from pushforward.training.folder import find_checkpoint
from pushforward.training.loop import Outcome, fit
from pushforward.training.observers import Observer
from pushforward.training.tunings import read_tunings
from pushforward.training.variances import read_variances, variances_on, write_variances

_CONTENTS = "data (a hash of its contents)"
_LATER: dict[str, Any] = {"loss": "simple", "learned_variance": False, "told": {}}
"""Settings that earlier versions did not know, as they were then: a run begun by one of them is continued."""
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
        return data if same else replace(data, messages=(*data.messages, _untold(self.path)))


@dataclass(frozen=True, eq=False)
class Run(Stored):
    """A run read back with its model: `generator` holds the chosen weights; `outcome` is there just after training."""

    weights: str
    generator: Generator
    outcome: Outcome | None = None

    def denoising(self, what: str) -> DiffusionGenerator:
        """The generator as one of a denoiser. Raises UserError, naming `what` needs it, for other families."""
        return as_denoising(self.generator, what)

    def sampled(self, what: str) -> DiffusionGenerator:
        """The generator that samplers work on, of items or of their latents. Raises UserError for other families."""
        return as_sampled(self.generator, what)

    def with_variance(self) -> Run:
        """The run whose generator knows Var[x_0 | x_t], which analytic samplers use.

        Estimated on the training data the first time, some seconds' work, and stored with the run for these weights.
        Raises UserError where it is not stored and the data cannot be read again.
        """
        generator = self.sampled("an analytic sampler")
        if generator.variance is not None:
            return self
        whole, train = self.generator, self.data().train
        items = LatentItems(whole.model, train) if isinstance(whole, LatentGenerator) else train
        table = variances_on(generator.model, items)
        if self.path != self.checkpoint.path:  # what is stored in a checkpoint is listed in its manifest
            write_variances(self.path, weights_hash(self.checkpoint, self.weights), table)
        known = replace(generator, variance=table)
        if isinstance(whole, LatentGenerator):
            return replace(self, generator=replace(whole, inner=known))
        return replace(self, generator=known)


def _untold(run: Path | str) -> str:
    return (
        f"{run} knows its data by a hash of another version of pushforward, so that only their form and number are "
        "compared with what it was trained on"
    )


def weights_hash(checkpoint: Checkpoint, weights: str) -> str:
    """The hash of the stored weights of that name."""
    return str(checkpoint.files[weights + SUFFIX]["blake2b"])


def load_data(config: Config, folder: Path | None = None) -> Dataset:
    """The data set that a configuration names; relative paths are looked for in `folder` first."""
    given = config.data.model_dump(exclude={"split_seed", "target", "classify", *AUGMENTATIONS})
    if folder is not None:
        given |= {name: _found_in(folder, given[name]) for name in ("source", "validation", "test", "conditions")}
    if config.data.target is not None:
        return _load_paired(config.data, given)
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


def train(
    config: Config,
    data: Dataset,
    out: Path | str,
    *,
    network: nn.Module | None = None,
    start_from: Path | str | None = None,
    observers: Sequence[Observer] = (),
    restart: bool = False,
) -> Outcome:
    """Train what a configuration describes, in a folder; an interrupted run there is continued.

    `network` is the user's own; `start_from` another run whose weights are the starting point.
    Raises what `training.loop.fit` raises.
    """
    if network is not None:
        config = config.model_copy(update={"model": _with_network(config.model, network)})
    config = resolve(config, data)
    model = build_model(config.model, data.format, network, config.training.seed, data.train)
    if start_from is not None:
        if Path(start_from).resolve() == Path(out).resolve():
            raise UserError(f"{out} is the run to start from and the folder to train in: give another folder to train")
        initialise_from(model, find_checkpoint(start_from))
    description = describe(config, data, out)
    identity = _identity(description)
    before = _hash_of_another_recipe(out, data)
    if before is not None:
        identity[_CONTENTS] = before
    recipe = build_recipe(config.training, config.data)
    items: tuple[Items, Items] = data.train, data.validation
    if isinstance(model, Prepares):
        if restart and isinstance(model, Latent):
            set_aside_whole(Path(out), recipe)
            restart = False
        if not restart:
            _take_prepared(model, Path(out))
        if isinstance(model, Latent):
            watching = first_stage_observers(observers)
            make_ready(model, config, data, Path(out), description, observers=watching)
        prepared = model.prepare(data.train, data.validation, config.training.seed)
        # what is varied anew at every step cannot have been encoded before
        items = items if isinstance(model, Latent) and recipe.augment is not None else prepared
    outcome = fit(
        model,
        *items,
        recipe,
        out,
        description,
        identity=identity,
        observers=observers,
        restart=restart,
    )
    return outcome if before is None else replace(outcome, notes=(_untold(out), *outcome.notes))


def _with_network(model: ModelConfig, network: nn.Module) -> ModelConfig:
    """The section of a model whose network is the user's own."""
    section = CustomNetworkConfig(name=f"{type(network).__module__}.{type(network).__qualname__}")
    if isinstance(model, LatentConfig) and isinstance(model.inner, DiffusionConfig):
        return model.model_copy(update={"inner": model.inner.model_copy(update={"network": section})})
    if not isinstance(model, DiffusionConfig):
        raise UserError(f"a network of your own is for diffusion models; this is a {model.family} model")
    return model.model_copy(update={"network": section})


def _take_prepared(model: Family, out: Path) -> None:
    """Where an unfinished run is continued, take over what was fitted before its first step, not to fit it again."""
    try:
        checkpoint = find_checkpoint(out, "last")
    except PushforwardError:
        return
    if mismatch(model.state_dict(), checkpoint.shapes("model")) is None:  # else the engine says what is different
        load_weights(model, checkpoint, "model")


def describe(config: Config, data: Dataset, out: Path | str) -> dict[str, Any]:
    """What is stored with every checkpoint: enough to build the model again and to read and write the user's data."""
    return {
        "schema": SCHEMA,
        "config": config.model_dump(mode="json"),
        "format": data.format.to_dict(),
        "data": AboutData.of(data, out).model_dump(mode="json"),
    }


def _identity(description: Mapping[str, Any]) -> dict[str, Any]:
    """What must agree for a run to be continued: model, data, augmentation (the engine compares the recipe itself)."""
    data, model = description["config"]["data"], description["config"]["model"]
    return {
        "model": _known_earlier(model),
        _CONTENTS: description["data"]["fingerprint"],
        "data": {name: data[name] for name in AUGMENTATIONS},
    }


def _known_earlier(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section without the settings that are as they were before they could be set."""
    return {
        name: _known_earlier(value) if isinstance(value, Mapping) else value
        for name, value in section.items()
        if _LATER.get(name, _LATER) != value
    }


def _hash_of_another_recipe(out: Path | str, data: Dataset) -> str | None:
    """What the run in this folder, where there is one, knows these data by, if that cannot be compared with theirs."""
    try:
        begun = read_stored(out, "last")
    except UserError:
        return None
    known = begun.checkpoint.state.get("identity", {}).get(_CONTENTS, "")
    about = begun.about_data.model_copy(update={"fingerprint": known})
    return known if about.is_of(data) is None else None


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


def load_run(
    path: Path | str,
    *,
    which: str = "best",
    weights: str | None = None,
    network: nn.Module | None = None,
    device: str | None = None,
    outcome: Outcome | None = None,
) -> Run:
    """Read a run, or one of its checkpoints, with its model.

    Args:
        which: the `best` checkpoint on the validation split, or the `last`.
        weights: `model` or an average such as `ema-0.100`; by default those that validated best.
        network: the user's own, where the run was made with one.
        device: where the model is put; the fastest there is by default.
        outcome: how the training that has just ended went.

    Raises:
        UserError: there is no run, it was written by a later version, or the network or device does not fit.
    """
    found = read_stored(path, which)
    if network is None:
        _check_fits(found, weights)
    model = build_model(found.config.model, found.format, network)
    used = load_weights(model, found.checkpoint, weights)
    model.to(device_of(device)).eval()
    of_weights = weights_hash(found.checkpoint, used)
    generator = generator_of(
        model, found.format, read_variances(found.path, of_weights), read_tunings(found.path, of_weights)
    )
    return Run(found.path, found.config, found.format, found.checkpoint, found.about_data, used, generator, outcome)


def _check_fits(found: Stored, weights: str | None) -> None:
    """Refuse a configuration that does not fit the stored weights before any memory is taken for it."""
    expected = hollow_model(found.config.model, found.format).state_dict()
    difference = mismatch(expected, found.checkpoint.shapes(weights or found.checkpoint.best_weights))
    if difference:
        raise UserError(f"The weights in {found.checkpoint.path} do not fit this model: {difference}.")


def device_of(name: str | None) -> torch.device:
    """A device by its name, the fastest there is by default. Raises UserError where there is none of that name."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"there is no device {name!r} here; leave it out to use the fastest there is") from None
    return device
