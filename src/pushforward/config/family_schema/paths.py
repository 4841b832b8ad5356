"""The paths of noise as sections: a union by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pushforward.config.sections import Levels, Section, Size


class VPConfig(Section):
    kind: Literal["vp"] = "vp"
    beta_min: Size = 0.1
    beta_max: Size = 20.0


class CosineConfig(Section):
    kind: Literal["cosine"] = "cosine"


class SubVPConfig(Section):
    kind: Literal["subvp"] = "subvp"
    beta_min: Size = 0.1
    beta_max: Size = 20.0


class VEConfig(Section):
    kind: Literal["ve"] = "ve"
    sigma_min: Size = 0.01
    sigma_max: Size = 50.0


class EDMConfig(Section):
    kind: Literal["edm"] = "edm"
    sigma_min: Size = 0.002
    sigma_max: Size = 80.0


class StraightConfig(Section):
    kind: Literal["straight"] = "straight"


class DDPMConfig(Section):
    """An exact table of DDPM levels."""

    kind: Literal["ddpm"] = "ddpm"
    schedule: Literal["linear", "cosine", "sqrt-linear"] = "linear"
    levels: Levels = 1000
    zero_terminal_snr: bool = False


PathConfig = Annotated[
    VPConfig | CosineConfig | SubVPConfig | VEConfig | EDMConfig | StraightConfig | DDPMConfig,
    Field(discriminator="kind"),
]
