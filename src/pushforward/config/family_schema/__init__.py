"""The families of models as sections of the configuration: one file per family, and their union by `family`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pushforward.config.family_schema.card import CardConfig
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.discrete import DiscreteConfig
from pushforward.config.family_schema.energy import EnergyConfig
from pushforward.config.family_schema.flow import FlowConfig
from pushforward.config.family_schema.gan import GANConfig
from pushforward.config.family_schema.latent import LatentConfig
from pushforward.config.family_schema.mixed import MixedConfig
from pushforward.config.family_schema.vae import VAEConfig

ModelConfig = Annotated[
    DiffusionConfig
    | FlowConfig
    | VAEConfig
    | GANConfig
    | EnergyConfig
    | DiscreteConfig
    | MixedConfig
    | CardConfig
    | LatentConfig,
    Field(discriminator="family"),
]
"""What is trained: one section per family."""
