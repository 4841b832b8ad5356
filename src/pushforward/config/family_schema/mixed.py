"""The section of diffusion of numbers and categories together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pushforward.config.sections import Channels, Fraction, Layers, Section


class MixedConfig(Section):
    """Gaussian and discrete diffusion together, of tables with numbers and categories."""

    family: Literal["mixed"] = "mixed"
    rates: Literal["absorbing", "uniform"] = Field("absorbing", description="how categories are corrupted")
    width: Channels | None = Field(None, description="of the perceptron [256]")
    depth: Layers | None = Field(None, description="blocks of the perceptron [4]")
    dropout: Fraction = 0.0
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")
