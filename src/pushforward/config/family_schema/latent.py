"""The section of models of latents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.discrete import DiscreteConfig
from pushforward.config.family_schema.first_stages import FirstStageConfig, KLStageConfig
from pushforward.config.family_schema.flow import FlowConfig
from pushforward.config.sections import Section

LatentsConfig = Annotated[DiffusionConfig | FlowConfig | DiscreteConfig, Field(discriminator="family")]


class LatentConfig(Section):
    """A model of the latents of an autoencoder, such as latent diffusion."""

    family: Literal["latent"] = "latent"
    first_stage: FirstStageConfig = KLStageConfig()
    inner: LatentsConfig = Field(DiffusionConfig(), description="the model of latents")
    conditional: bool = Field(True, description="learn the labels, where the data has them")
