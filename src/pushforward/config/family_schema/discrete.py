"""The section of discrete diffusion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat

from pushforward.config.sections import Channels, Fraction, Layers, Section


class DiscreteConfig(Section):
    """Diffusion of symbols: texts, whole numbers, categories."""

    family: Literal["discrete"] = "discrete"
    rates: Literal["auto", "absorbing", "uniform", "birth-death", "gaussian"] = Field(
        "auto", description="how symbols are corrupted [absorbing: hidden by a mask]"
    )
    width: Channels | None = Field(None, description="of the transformer [128], U-Net [32] or perceptron [128]")
    depth: Layers | None = Field(None, description="blocks of the network [4 of texts, 1 of images, 3 of rows]")
    dropout: Fraction = 0.0
    timed: bool | None = Field(None, description="the network is told the time [only where symbols are not masked]")
    by_count: bool = Field(True, description="symbols are masked by their number; false: by a random time")
    auxiliary: NonNegativeFloat = Field(0.0, description="weight of the cross-entropy beside the bound")
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")
