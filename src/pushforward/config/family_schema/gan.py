"""The section of adversarial models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pushforward.config.sections import Channels, Section, Size


class GANConfig(Section):
    """A generator trained against a discriminator."""

    family: Literal["gan"] = "gan"
    latent: Channels | None = Field(None, description="numbers of a latent; chosen from the data when not given")
    width: Channels | None = Field(None, description="channels for images [64], hidden units else [128]")
    loss: Literal["relativistic", "non-saturating", "minimax", "least-squares", "hinge", "wasserstein"] = "relativistic"
    gamma: Size | None = Field(
        None, description="weight of R1 and R2 in the beginning [0.1], or of wasserstein's gradient penalty [10]"
    )
    gamma_end: Size | None = Field(
        None, description="weight of R1 and R2 at the end, reached geometrically [0.01 for images, else 0.0003]"
    )
    augment: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="how often the discriminator sees each image changed, for small data; 0.5 is usual"
    )
    conditional: bool = Field(True, description="learn the labels, where the data has them")
