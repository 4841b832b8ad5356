"""Energy models from their section."""

from __future__ import annotations

from typing import Any

from torch import nn

from pushforward.config.families.diffusion import levels_for, measure_sigma
from pushforward.config.family_schema.energy import EnergyConfig
from pushforward.data.dataset import Dataset
from pushforward.data.format import Format
from pushforward.denoisers.precondition import EDMPrediction
from pushforward.energy import Explicit, FiniteDifference, ScoreMatching, Sliced, SlicedReduced
from pushforward.errors import UserError
from pushforward.models.energy import EnergyModel
from pushforward.models.family import Family
from pushforward.models.noisy_energy import NoisyEnergyModel
from pushforward.networks.energy import image_potential, vector_potential
from pushforward.paths import EDM
from pushforward.paths.times import LogNormalTimes, Stratified

_MATCHING: dict[str, type[ScoreMatching]] = {
    "sliced": Sliced,
    "sliced-reduced": SlicedReduced,
    "explicit": Explicit,
    "finite-difference": FiniteDifference,
}


def resolve(config: EnergyConfig, data: Dataset) -> EnergyConfig:
    """With sizes and σ_data filled in. Raises UserError for noise levels that do not rise, and for settings that these
    data have no use for."""
    images = len(data.shape) == 3
    _check_used(config, images)
    lowest = config.sigma_min or (0.02 if images else 0.05)  # the error of log p grows like its inverse
    if not lowest < config.sigma_max:
        raise UserError(f"model.sigma_min must be below model.sigma_max; got {lowest:g} and {config.sigma_max:g}")
    changes: dict[str, Any] = {
        "sigma_min": lowest,
        "width": config.width or (32 if images else 128),
        "sigma_data": config.sigma_data or measure_sigma(data.train),
    }
    if images:
        changes["multipliers"] = config.multipliers or levels_for(data.shape)
    return config.model_copy(update=changes)


def _check_used(config: EnergyConfig, images: bool) -> None:
    """Refuse what would be read by nobody."""
    usual = EnergyConfig()
    what, of = (("depth",), "vectors") if images else (("multipliers", "blocks"), "images")
    for name in what:
        if getattr(config, name) != getattr(usual, name):
            raise UserError(f"model.{name} is of networks for {of}, and these data are not such: leave it out")
    if config.matching != "denoising" and config.sigma_max != usual.sigma_max:
        raise UserError(
            f"model.sigma_max is of denoising score matching, and model.matching={config.matching} adds no noise: "
            "leave it out"
        )


def build(config: EnergyConfig, form: Format, classes: int) -> Family:
    """The model of a resolved section."""
    sigma, potential = config.sigma_data or 1.0, _potential(config, form, classes)
    if config.matching != "denoising":
        matching = _MATCHING[config.matching]()
        return EnergyModel(potential, form.shape, matching, sigma, classes, config.label_dropout)
    return NoisyEnergyModel(
        potential,
        EDM(config.sigma_min or 0.05, config.sigma_max),
        EDMPrediction(sigma),
        Stratified(LogNormalTimes(sigma_data=sigma)),
        form.shape,
        classes,
        config.label_dropout,
    )


def describe(config: EnergyConfig) -> str:
    """How the score is matched, and on which noise."""
    noise = f", σ {config.sigma_min} to {config.sigma_max:g}" if config.matching == "denoising" else ""
    return f"{config.matching} score matching{noise}, width {config.width}"


def _potential(config: EnergyConfig, form: Format, classes: int) -> nn.Module:
    width = config.width or 32
    if len(form.shape) == 3:
        return image_potential(form.shape[0], width, config.multipliers or (1, 2), config.blocks, classes or None)
    return vector_potential(form.shape[0], width, config.depth, classes or None)
