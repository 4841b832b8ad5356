"""Training of what a configuration describes, in the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from pushforward.config.about import untold
from pushforward.config.build import build_model, build_recipe, resolve
from pushforward.config.family_schema import ModelConfig
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.latent import LatentConfig
from pushforward.config.family_schema.networks import CustomNetworkConfig
from pushforward.config.first_stage import first_stage_observers, make_ready, set_aside_whole
from pushforward.config.schema import AUGMENTATIONS, Config
from pushforward.config.stored import describe, read_stored
from pushforward.data.dataset import Dataset
from pushforward.errors import PushforwardError, UserError
from pushforward.models.family import Family, Items, Prepares
from pushforward.models.latent import Latent
from pushforward.training.checkpoint import initialise_from, load_weights, mismatch
from pushforward.training.folder import find_checkpoint
from pushforward.training.loop import Outcome, fit
from pushforward.training.observers import Observer
from pushforward.training.recipe import Recipe

_CONTENTS = "data (a hash of its contents)"
_LATER: dict[str, Any] = {
    "loss": "simple",
    "learned_variance": False,
    "told": {},
    "feature_dropout": 0.0,
    "log_probabilities": False,
}
"""Settings that earlier versions did not know, as they were then: a run begun by one of them is continued."""


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
        _start_from(model, start_from, out)
    description, recipe = describe(config, data, out), build_recipe(config.training, config.data)
    identity, before = _identity(description), _hash_of_another_recipe(out, data)
    if before is not None:
        identity[_CONTENTS] = before
    items: tuple[Items, Items] = data.train, data.validation
    if isinstance(model, Prepares):
        if restart and isinstance(model, Latent):
            set_aside_whole(Path(out), recipe)
            restart = False
        if not restart:
            _take_prepared(model, Path(out))
        items = _prepared(model, config, data, Path(out), recipe, description, observers)
    outcome = fit(model, *items, recipe, out, description, identity=identity, observers=observers, restart=restart)
    return outcome if before is None else replace(outcome, notes=(untold(out), *outcome.notes))


def _with_network(model: ModelConfig, network: nn.Module) -> ModelConfig:
    """The section of a model whose network is the user's own."""
    section = CustomNetworkConfig(name=f"{type(network).__module__}.{type(network).__qualname__}")
    if isinstance(model, LatentConfig) and isinstance(model.inner, DiffusionConfig):
        return model.model_copy(update={"inner": model.inner.model_copy(update={"network": section})})
    if not isinstance(model, DiffusionConfig):
        raise UserError(f"a network of your own is for diffusion models; this is a {model.family} model")
    return model.model_copy(update={"network": section})


def _start_from(model: Family, run: Path | str, out: Path | str) -> None:
    """Give the model the weights of a run. Raises UserError where that is the one to be trained."""
    if Path(run).resolve() == Path(out).resolve():
        raise UserError(f"{out} is the run to start from and the folder to train in: give another folder to train")
    initialise_from(model, find_checkpoint(run))


def _prepared(
    model: Prepares,
    config: Config,
    data: Dataset,
    out: Path,
    recipe: Recipe,
    description: Mapping[str, Any],
    observers: Sequence[Observer],
) -> tuple[Items, Items]:
    """What the model learns and is validated on, once all is fitted that comes before its first step."""
    if isinstance(model, Latent):
        make_ready(model, config, data, out, description, observers=first_stage_observers(observers))
    prepared = model.prepare(data.train, data.validation, config.training.seed)
    # what is varied anew at every step cannot have been encoded before
    encoded_as_met = isinstance(model, Latent) and recipe.augment is not None
    return (data.train, data.validation) if encoded_as_met else prepared


def _take_prepared(model: Family, out: Path) -> None:
    """Where an unfinished run is continued, take over what was fitted before its first step, not to fit it again."""
    try:
        checkpoint = find_checkpoint(out, "last")
    except PushforwardError:
        return
    if mismatch(model.state_dict(), checkpoint.shapes("model")) is None:  # else the engine says what is different
        load_weights(model, checkpoint, "model")


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
