"""What a section of a family means: one file per family, and the one place that tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from torch import nn

from pushforward.config.families import card, diffusion, discrete, energy, flow, gan, latent, mixed, vae
from pushforward.config.family_schema import ModelConfig
from pushforward.config.family_schema.card import CardConfig
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.family_schema.discrete import DiscreteConfig
from pushforward.config.family_schema.energy import EnergyConfig
from pushforward.config.family_schema.flow import FlowConfig
from pushforward.config.family_schema.gan import GANConfig
from pushforward.config.family_schema.latent import LatentConfig
from pushforward.config.family_schema.mixed import MixedConfig
from pushforward.config.family_schema.vae import VAEConfig
from pushforward.data.columns import Columns
from pushforward.data.dataset import Dataset, Split
from pushforward.data.format import Format, Kind
from pushforward.errors import UserError
from pushforward.models.family import Family

_MODULES: dict[type, ModuleType] = {
    DiscreteConfig: discrete,
    MixedConfig: mixed,
    CardConfig: card,
    DiffusionConfig: diffusion,
    VAEConfig: vae,
    FlowConfig: flow,
    GANConfig: gan,
    EnergyConfig: energy,
    LatentConfig: latent,
}


def resolve(config: ModelConfig, data: Dataset) -> ModelConfig:
    """The section with everything filled in that depends on the data."""
    if data.format.kind is Kind.PAIR and not isinstance(config, CardConfig):
        raise UserError(
            f"a target was named, and a {config.family} model predicts none: give --family card, or leave it out"
        )
    _check_kind(config, data)
    inner = config.inner if isinstance(config, LatentConfig) else config
    if not isinstance(inner, DiffusionConfig) and diffusion.told_of(data):
        raise UserError(
            f"conditions beside the class are told to diffusion models, and this is a {inner.family} model: leave "
            "data.conditions out"
        )
    resolved: ModelConfig = _MODULES[type(config)].resolve(config, data)
    return resolved


def build(config: ModelConfig, form: Format, classes: int, network: nn.Module | None, items: Split | None) -> Family:
    """The model of a resolved section; see `build.build_model`."""
    _check_network(config, network)
    match config:
        case DiscreteConfig():
            return discrete.build(config, form, classes)
        case MixedConfig():
            return mixed.build(config, form, classes, items)
        case CardConfig():
            return card.build(config, form)
        case DiffusionConfig():
            return diffusion.build(config, form, classes, network)
        case VAEConfig():
            return vae.build(config, form, classes, items)
        case FlowConfig():
            return flow.build(config, form, classes)
        case GANConfig():
            return gan.build(config, form, classes)
        case EnergyConfig():
            return energy.build(config, form, classes)
        case LatentConfig():
            return latent.build(config, form, classes, network)


def learning_rate(config: ModelConfig, shape: Sequence[int]) -> float:
    """What suits a family, on items of a shape."""
    match config:
        case GANConfig():
            return 5e-4 if len(shape) == 3 else 2e-3
        case EnergyConfig():
            return 2e-3
    return 1e-3


def describe(config: ModelConfig) -> str:
    """What is worth knowing of a resolved section, in a few words."""
    told: str = _MODULES[type(config)].describe(config)
    return told


def _check_network(config: ModelConfig, network: nn.Module | None) -> None:
    if network is not None and not isinstance(config, DiffusionConfig | LatentConfig):
        raise UserError(f"a network of your own is for diffusion models; this is a {config.family} model")


def _check_kind(config: ModelConfig, data: Dataset) -> None:
    """Refuse texts for models of numbers."""
    if data.format.kind is Kind.TEXT and not isinstance(config, DiscreteConfig):
        raise UserError(
            f"{data.name} is a text, and {config.family} models learn numbers: train it with --family discrete"
        )
    coding = data.format.coding
    if (
        isinstance(coding, Columns)
        and coding.coded
        and not isinstance(config, DiscreteConfig | MixedConfig | CardConfig)
    ):
        name = (coding.names or ())[coding.coded[0]]
        raise UserError(
            f"{data.name} has categories (in column {name!r}), and {config.family} models learn numbers: train it with "
            "--family mixed, or name the column as the labels with --label-column"
        )
