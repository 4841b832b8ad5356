"""What is descended: denoising losses and their weightings, score matching, bounds of the likelihood."""

from pushforward.objectives.denoising import denoising_error, denoising_loss
from pushforward.objectives.weighting import (
    P2,
    EDMWeighting,
    LearnedUncertainty,
    LikelihoodWeighting,
    MinSNR,
    Weighting,
    data_weighting,
    noise_weighting,
    normalised,
    output_weighting,
    velocity_weighting,
)

__all__ = [
    "P2",
    "EDMWeighting",
    "LearnedUncertainty",
    "LikelihoodWeighting",
    "MinSNR",
    "Weighting",
    "data_weighting",
    "denoising_error",
    "denoising_loss",
    "noise_weighting",
    "normalised",
    "output_weighting",
    "velocity_weighting",
]
