"""The section of energy models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pushforward.config.sections import Channels, Fraction, Layers, Multipliers, Section, Size


class EnergyConfig(Section):
    """An energy model: p = exp(−f)/Z."""

    family: Literal["energy"] = "energy"
    matching: Literal["denoising", "sliced", "sliced-reduced", "explicit", "finite-difference"] = Field(
        "denoising", description="denoising: an energy at every noise level; the others: one energy of clean data"
    )
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [128]")
    depth: Layers = Field(3, description="of the perceptrons of vectors")
    multipliers: Multipliers | None = Field(None, description="widths of the resolutions of images")
    blocks: Layers = Field(1, description="at each resolution of images")
    sigma_min: Size | None = Field(
        None, description="the smallest noise, whose energy is the density [0.02 for images, 0.05 for tables]"
    )
    sigma_max: Size = 80.0
    sigma_data: Size | None = Field(None, description="the data's standard deviation; measured when not given")
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")
