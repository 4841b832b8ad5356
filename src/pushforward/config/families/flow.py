"""Normalizing flows from their section."""

from __future__ import annotations

from pushforward.config.family_schema.flow import FlowConfig
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format, Kind
from pushforward.errors import UserError
from pushforward.models.flow import FlowModel, flow_model


def resolve(config: FlowConfig, data: Dataset) -> FlowConfig:
    """With sizes filled in. Raises UserError for settings that these data have no use for."""
    return resolve_for(config, data.format)


def resolve_for(config: FlowConfig, form: Format) -> FlowConfig:
    """As `resolve`, for items of a form."""
    images = form.kind is Kind.IMAGE
    if config.levels is not None and not images:
        raise UserError(f"model.levels halves images, and the items here have the shape {form.shape}: leave it out")
    width = config.width or (64 if images else 128)
    return config.model_copy(update={"width": width, "layers": config.layers or (4 if images else 5)})


def build(config: FlowConfig, form: Format, classes: int) -> FlowModel:
    """The model of a resolved section."""
    return flow_model(
        form,
        classes,
        width=config.width,
        layers=config.layers,
        levels=config.levels,
        autoregressive=config.autoregressive,
    )


def describe(config: FlowConfig) -> str:
    """How many layers of which width."""
    return f"{config.layers} layers of width {config.width}"
