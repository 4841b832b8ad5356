"""The section of normalizing flows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pushforward.config.sections import Channels, Layers, Section


class FlowConfig(Section):
    """A normalizing flow."""

    family: Literal["flow"] = "flow"
    width: Channels | None = Field(None, description="channels for images [64], hidden units of two layers else [128]")
    layers: Layers | None = Field(None, description="transforms of vectors [5], steps at each level of images [4]")
    levels: Annotated[int, Field(ge=0, le=12)] | None = Field(None, description="halvings of images")
    autoregressive: bool = Field(True, description="of vectors: better densities, slower samples than by couplings")
    conditional: bool = Field(True, description="learn the labels, where the data has them")
