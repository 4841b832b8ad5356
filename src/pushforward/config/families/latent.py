"""Latent models from their section: a first stage and a model of its latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from pushforward.config.families import diffusion, discrete, flow, vae
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.discrete import DiscreteConfig
from pushforward.config.family_schema.first_stages import (
    FirstStageConfig,
    KLStageConfig,
    PCAStageConfig,
    RunStageConfig,
    VQStageConfig,
)
from pushforward.config.family_schema.flow import FlowConfig
from pushforward.config.family_schema.latent import LatentConfig
from pushforward.config.family_schema.vae import VAEConfig
from pushforward.config.stored import read_stored
from pushforward.data.columns import Columns
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format, Kind
from pushforward.data.pixels import Layout, Pixels
from pushforward.errors import UserError
from pushforward.latent import KL, PCA, VQ, Adversary, FirstStage, Regulariser
from pushforward.models.autoencoder import Autoencoder, autoencoder, usual_halvings
from pushforward.models.family import Family
from pushforward.models.first_stages import first_stage_of
from pushforward.models.indices import Indices
from pushforward.models.latent import Latent, latent_model
from pushforward.networks.autoencoder import sizes
from pushforward.networks.patches import PatchDiscriminator
from pushforward.vae import VectorQuantiser
from pushforward.vae.codebook import Codebook

_COMPONENTS = 32


def resolve(config: LatentConfig, data: Dataset) -> LatentConfig:
    """With the sizes of both parts filled in."""
    stage = _resolve_stage(config.first_stage, data)
    inner: DiffusionConfig | FlowConfig | DiscreteConfig
    if isinstance(config.inner, DiscreteConfig):
        with torch.device("meta"):  # its form is all that is asked for
            form = _indices(stage, data.format)[1]
        inner = discrete.resolve_for(config.inner, form, "codes")
    elif isinstance(config.inner, DiffusionConfig):
        told = diffusion.told_of(data)
        inner = diffusion.resolve_for(config.inner, latent_shape(stage, data.format), 1.0, told)
    else:
        inner = flow.resolve_for(config.inner, latent_format(latent_shape(stage, data.format)))
    conditional = config.conditional and bool(data.num_classes)
    return config.model_copy(
        update={"first_stage": stage, "inner": inner.model_copy(update={"conditional": conditional})}
    )


def build(config: LatentConfig, form: Format, classes: int, network: nn.Module | None) -> Latent:
    """The model of a resolved section; its first stage is not trained yet."""
    inner: Family
    if isinstance(config.inner, DiscreteConfig):
        indices, symbols = _indices(config.first_stage, form)
        return latent_model(indices, discrete.build(config.inner, symbols, classes))
    stage = build_stage(config.first_stage, form)
    latents = latent_format(stage.latent_shape)
    if isinstance(config.inner, DiffusionConfig):
        inner = diffusion.build(config.inner, latents, classes, network)
    else:
        inner = flow.build(config.inner, latents, classes)
    random = not isinstance(config.first_stage, KLStageConfig) or config.first_stage.random
    return latent_model(stage, inner, random=random)


def describe(config: LatentConfig) -> str:
    """The first stage, and the model of its latents."""
    stage, inner = config.first_stage, config.inner
    told = {
        KLStageConfig: lambda s: f"{s.channels} channels under KL",
        VQStageConfig: lambda s: f"codes of {s.channels} numbers, {s.codes} of them",
        PCAStageConfig: lambda s: f"{s.components} principal components",
        RunStageConfig: lambda s: f"the autoencoder of {s.path}",
    }[type(stage)](stage)
    about = {DiffusionConfig: diffusion, FlowConfig: flow, DiscreteConfig: discrete}[type(inner)].describe(inner)
    return f"first stage {told}; {inner.family} of its latents, {about}"


def build_stage(config: FirstStageConfig, form: Format) -> FirstStage:
    """The first stage of a resolved section, its numbers not yet learned."""
    match config:
        case PCAStageConfig():
            return PCA(form.shape, config.components or 1)
        case RunStageConfig():
            if config.autoencoder is None:
                raise UserError(f"model.first_stage.path={config.path} was not resolved: its run was not read")
            return first_stage_of(vae.build(config.autoencoder, form, 0, None))
    return build_autoencoder(config, form)


def build_autoencoder(config: KLStageConfig | VQStageConfig, form: Format) -> Autoencoder:
    """The autoencoder that is trained before the latent model."""
    adversary = None
    if config.adversary:
        if len(form.shape) != 3:
            raise UserError(
                "model.first_stage.adversary judges patches of images, and the items here are none: leave it out"
            )
        levels = 1 if min(form.shape[1:]) < 16 else 2
        adversary = Adversary(PatchDiscriminator(form.shape[0], 32, levels), config.adversary, config.adversary_start)
    width = config.width or 32
    return autoencoder(
        form.shape,
        config.channels or 4,
        halvings=config.halvings,
        width=width,
        blocks=config.blocks,
        hidden=(width, width),
        regulariser=_regulariser(config),
        adversary=adversary,
    )


def latent_shape(config: FirstStageConfig, form: Format) -> tuple[int, ...]:
    """The shape of a latent of a resolved section."""
    match config:
        case PCAStageConfig():
            return (config.components or 1,)
        case RunStageConfig():
            return build_stage(config, form).latent_shape
    channels = config.channels or 4
    return (channels, *sizes(form.shape, config.halvings or 0)[-1]) if len(form.shape) == 3 else (channels,)


def latent_format(shape: Sequence[int]) -> Format:
    """The form of latents: real numbers that are their own model units."""
    if len(shape) == 3:
        channels, height, width = shape
        return Format(Pixels((channels, height, width), Layout.FIRST, "float32", -1.0, 1.0, clip=False))
    dim = shape[0]
    zeros, ones = (0.0,) * dim, (1.0,) * dim
    return Format(
        Columns(None, ("float32",) * dim, "float32", zeros, ones, (-1.0,) * dim, ones, (None,) * dim, (None,) * dim)
    )


def _indices(config: FirstStageConfig, form: Format) -> tuple[Indices, Format]:
    """A first stage read by the numbers of its codes, and the form of their maps."""
    found = Indices(build_stage(config, form))
    _, height, width = found.latent_shape
    return found, Format(Pixels((1, height, width), Layout.FIRST, "int64", 0.0, found.symbols - 1.0, clip=True))


def _resolve_stage(config: FirstStageConfig, data: Dataset) -> FirstStageConfig:
    form = data.format
    if form.kind is Kind.PAIR or form.kind is Kind.TEXT:
        raise UserError(f"latent models learn numbers, and {data.name} is none of these: leave --family latent out")
    size = math.prod(form.shape)
    match config:
        case PCAStageConfig():
            components = config.components or max(1, min(_COMPONENTS, size // 2))
            if components > size:
                raise UserError(f"model.first_stage.components={components} of items of {size} numbers: at most {size}")
            return config.model_copy(update={"components": components})
        case RunStageConfig():
            return config if config.autoencoder else config.model_copy(update={"autoencoder": _stored(config, form)})
    images = len(form.shape) == 3
    if not images and config.halvings is not None:
        raise UserError(
            f"model.first_stage.halvings is of images, and the items here have the shape {form.shape}: leave it out"
        )
    if isinstance(config, VQStageConfig) and config.published and config.book != "gradient":
        raise UserError(
            "model.first_stage.published is of codes learned by gradients: give model.first_stage.book=gradient"
        )
    return config.model_copy(
        update={
            "channels": config.channels or (4 if images else max(1, size // 2)),
            "halvings": (usual_halvings(form.shape) if config.halvings is None else config.halvings)
            if images
            else None,
            "width": config.width or (32 if images else 200),
        }
    )


def _stored(config: RunStageConfig, form: Format) -> VAEConfig:
    """What the run of a first stage is. Raises UserError where it is no autoencoder, or of other items."""
    if not config.path:
        raise UserError("a first stage from a run needs model.first_stage.path, the folder of that run")
    found = read_stored(config.path)
    model = found.config.model
    if not isinstance(model, VAEConfig):
        raise UserError(f"{config.path} is a run of the family {model.family}; a first stage is one of the family vae")
    if model.conditional:
        raise UserError(
            f"{config.path} was trained with classes, and a first stage is told none: train it with "
            "model.conditional=false; the latent model learns the classes"
        )
    if found.format.coding != form.coding:
        raise UserError(
            f"{config.path} was trained on items of shape {found.format.shape} with units of their own, and these have "
            f"the shape {form.shape}: train the first stage on the same data"
        )
    return model


def _regulariser(config: KLStageConfig | VQStageConfig) -> Regulariser:
    if isinstance(config, KLStageConfig):
        return KL(config.weight)
    channels = config.channels or 4
    if config.book == "averages":
        return VQ(VectorQuantiser(config.codes, channels), config.commitment)
    return VQ(Codebook(config.codes, channels, config.commitment, config.published))
