"""The first stage of a latent model made ready: trained in a folder of the run, or taken from a run of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from pushforward.config.build import build_recipe
from pushforward.config.family_schema.first_stages import KLStageConfig, RunStageConfig, VQStageConfig
from pushforward.config.family_schema.latent import LatentConfig
from pushforward.config.schema import Config
from pushforward.data.dataset import Dataset
from pushforward.errors import UserError
from pushforward.models.autoencoder import Autoencoder
from pushforward.models.first_stages import OfVAE, OfVQ
from pushforward.models.indices import Indices
from pushforward.models.latent import Latent
from pushforward.training.checkpoint import load_weights
from pushforward.training.folder import CHECKPOINTS, find_checkpoint, locked, set_aside
from pushforward.training.loop import fit
from pushforward.training.observers import Observer, Preview
from pushforward.training.place import Place
from pushforward.training.recipe import Recipe

FOLDER = "first-stage"
"""Of the run, where the training of its autoencoder is."""


def make_ready(
    model: Latent,
    config: Config,
    data: Dataset,
    out: Path,
    description: Mapping[str, Any],
    *,
    observers: Sequence[Observer] = (),
) -> None:
    """Give the first stage its weights, unless the model has them already from a checkpoint of its own.

    An autoencoder is trained as any model is, in `<out>/first-stage`: it is logged, saved and resumed alike.
    Raises what `training.loop.fit` raises.
    """
    section = config.model
    assert isinstance(section, LatentConfig)
    stage = section.first_stage
    if bool(model.standard.measured):
        return
    if isinstance(stage, RunStageConfig):
        load_weights(_held(_stage(model)), find_checkpoint(stage.path))
        return
    if not isinstance(stage, KLStageConfig | VQStageConfig):
        return
    autoencoder = _stage(model)
    assert isinstance(autoencoder, Autoencoder)
    length = {"steps": None, "minutes": stage.minutes} if stage.minutes else {"steps": stage.steps, "minutes": None}
    betas = (0.5, 0.9) if stage.adversary else config.training.betas
    training = config.training.model_copy(update={**length, "betas": betas, "preview_every": None, "clip_norm": None})
    autoencoder.requires_grad_(True)
    try:
        fit(
            autoencoder,
            data.train,
            data.validation,
            build_recipe(training, config.data),
            out / FOLDER,
            {**description, "part": FOLDER},
            identity={"first stage": stage.model_dump(mode="json"), "data": description["data"]["fingerprint"]},
            observers=observers,
        )
    finally:
        autoencoder.requires_grad_(False)
    load_weights(autoencoder, find_checkpoint(out / FOLDER))
    model.to(autoencoder.device)  # where it was trained the latents are encoded too


def set_aside_whole(out: Path, recipe: Recipe) -> None:
    """Move a run aside with its first stage, before either is trained anew."""

    def move() -> None:
        if (out / CHECKPOINTS).exists() or (out / FOLDER).exists():
            with locked(out):
                set_aside(out)

    Place.find(recipe.device, recipe.precision).together(move)


def first_stage_observers(observers: Sequence[Observer]) -> tuple[Observer, ...]:
    """Those that can watch the training of an autoencoder too: it draws nothing, so there is nothing to preview."""
    return tuple(observer for observer in observers if not isinstance(observer, Preview))


def _stage(model: Latent) -> object:
    """The first stage, also where a model of symbols reads it by the numbers of its codes."""
    stage: object = model.first_stage
    return stage.stage if isinstance(stage, Indices) else stage


def _held(stage: object) -> nn.Module:
    """The autoencoder that a run of its own was of."""
    if isinstance(stage, OfVAE):
        return stage.vae
    if isinstance(stage, OfVQ):
        return stage.vq
    raise UserError(f"a first stage of kind {type(stage).__name__} is not one of a run")
