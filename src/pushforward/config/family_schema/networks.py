"""The networks of denoisers as sections: a union by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from pushforward.config.sections import Channels, Fraction, Layers, Multipliers, Section


class UNetConfig(Section):
    kind: Literal["unet"] = "unet"
    width: Channels = 64
    multipliers: Multipliers = (1, 2)
    blocks: Layers = 2
    attention_at: tuple[NonNegativeInt, ...] | None = None
    dropout: Fraction = 0.0
    recompute: bool = Field(False, description="activations are computed again backwards: less memory, more time")


class SequenceUNetConfig(Section):
    """A U-Net of vectors whose numbers follow one another, such as time series."""

    kind: Literal["sequence-unet"] = "sequence-unet"
    width: Channels = 64
    multipliers: Multipliers = (1, 2, 2)
    blocks: Layers = 1
    attention_at: tuple[NonNegativeInt, ...] | None = None
    dropout: Fraction = 0.0
    recompute: bool = False


class DiTConfig(Section):
    """A transformer of patches, of images or of vectors whose numbers follow one another."""

    kind: Literal["dit"] = "dit"
    patch: Channels = 2
    width: Channels = 256
    depth: Layers = 6
    dropout: Fraction = 0.0
    recompute: bool = False


class MagnitudeUNetConfig(Section):
    """A U-Net whose layers keep the size of what passes through them."""

    kind: Literal["magnitude-unet"] = "magnitude-unet"
    width: Channels = 64
    multipliers: Multipliers = (1, 2)
    blocks: Layers = 2
    dropout: Fraction = 0.0
    recompute: bool = False


class MLPConfig(Section):
    kind: Literal["mlp"] = "mlp"
    width: Channels = 256
    depth: Layers = 4
    dropout: Fraction = 0.0


class AutoNetworkConfig(Section):
    """Chosen from the shape of the data when the run is made: a U-Net for images, an MLP for vectors and tables."""

    kind: Literal["auto"] = "auto"
    width: Channels | None = Field(None, description="channels or hidden units; chosen from the data when not given")
    dropout: Fraction = 0.0


class CustomNetworkConfig(Section):
    """A network given from Python; a run of it is loaded by passing the network again."""

    kind: Literal["custom"] = "custom"
    name: str


NetworkConfig = Annotated[
    UNetConfig
    | MLPConfig
    | SequenceUNetConfig
    | DiTConfig
    | MagnitudeUNetConfig
    | AutoNetworkConfig
    | CustomNetworkConfig,
    Field(discriminator="kind"),
]
