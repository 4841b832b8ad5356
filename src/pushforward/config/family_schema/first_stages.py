"""First stages of latent models as sections: a union by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from pushforward.config.family_schema.vae import VAEConfig
from pushforward.config.sections import Channels, Fraction, Layers, PositiveInt, Section


class KLStageConfig(Section):
    """An autoencoder with a little KL, trained before the latent model."""

    kind: Literal["kl"] = "kl"
    channels: Channels | None = Field(None, description="of the map of latents [4], or numbers of a vector's latent")
    halvings: Annotated[int, Field(ge=0, le=12)] | None = Field(None, description="of images [2; 1 below 16 pixels]")
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [200]")
    blocks: Layers = Field(1, description="residual blocks of each resolution")
    weight: NonNegativeFloat = Field(1e-6, description="of KL, summed over a latent")
    adversary: NonNegativeFloat = Field(0.0, description="weight of a critic of patches, 0 for none; 0.5 is usual")
    adversary_start: Fraction = Field(0.5, description="share of its training after which the critic acts")
    steps: PositiveInt = Field(3000, description="that it is trained for")
    minutes: PositiveFloat | None = Field(None, description="train it for about this long instead")
    random: bool = Field(True, description="the latent model learns draws of q(z | x), not its means")


class VQStageConfig(Section):
    """An autoencoder with a codebook, trained before the latent model, which learns what is not yet quantised."""

    kind: Literal["vq"] = "vq"
    channels: Channels | None = Field(None, description="numbers of a code [4]")
    codes: Annotated[int, Field(ge=2, le=1 << 16)] = 256
    halvings: Annotated[int, Field(ge=0, le=12)] | None = Field(None, description="of images [2; 1 below 16 pixels]")
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [200]")
    blocks: Layers = Field(1, description="residual blocks of each resolution")
    book: Literal["averages", "gradient"] = Field("averages", description="how codes are learned")
    commitment: PositiveFloat = Field(0.25, description="weight that keeps the encoder near the codes")
    published: bool = Field(False, description="that weight on the codes' side, as VQGAN was trained; book gradient")
    adversary: NonNegativeFloat = Field(0.0, description="weight of a critic of patches, 0 for none; 0.5 is usual")
    adversary_start: Fraction = Field(0.5, description="share of its training after which the critic acts")
    steps: PositiveInt = Field(3000, description="that it is trained for")
    minutes: PositiveFloat | None = Field(None, description="train it for about this long instead")


class PCAStageConfig(Section):
    """Principal components, in closed form."""

    kind: Literal["pca"] = "pca"
    components: PositiveInt | None = Field(None, description="how many [32, at most half of an item's numbers]")


class RunStageConfig(Section):
    """An autoencoder trained before, of the family vae, whose weights are stored with the run that uses it."""

    kind: Literal["run"] = "run"
    path: str = Field("", description="the folder of its run")
    autoencoder: VAEConfig | None = Field(None, description="what it is; read from that run")


FirstStageConfig = Annotated[
    KLStageConfig | VQStageConfig | PCAStageConfig | RunStageConfig, Field(discriminator="kind")
]
