"""The section of variational autoencoders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from pushforward.config.sections import Channels, PositiveInt, Section


class CodebookConfig(Section):
    """The codes of vector-quantised latents."""

    count: Annotated[int, Field(ge=2, le=1 << 16)] = 256
    size: Channels = Field(32, description="numbers of a code")
    halvings: Annotated[int, Field(ge=0, le=12)] | None = Field(
        None, description="of images on the way to their codes [2; 1 below 16 pixels]"
    )
    decay: Annotated[float, Field(ge=0, lt=1)] = Field(0.99, description="of the moving averages that codes are")
    revive: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01, description="share of the mean use below which a code is put on an item anew"
    )
    commitment: PositiveFloat = Field(0.25, description="weight that keeps the encoder near the codes")


class VAEConfig(Section):
    """A variational autoencoder."""

    family: Literal["vae"] = "vae"
    latent: Channels | None = Field(None, description="numbers of a latent; chosen from the data when not given")
    width: Channels | None = Field(None, description="of convolutions [32], or of the perceptrons of vectors [200]")
    hidden: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=32)] | None = Field(
        None, description="widths of perceptrons, layer by layer, for images too"
    )
    likelihood: Literal["auto", "gaussian", "gaussian-each", "discretised-logistic", "bernoulli", "categorical"] = (
        "auto"
    )
    posterior: Literal["diagonal", "full", "iaf", "codes"] = Field(
        "diagonal", description="codes: vector-quantised latents, and a learned law of them"
    )
    prior: Literal["normal", "mixture", "vamp", "flow", "codes"] = "normal"
    components: PositiveInt = Field(32, description="of a mixture, or pseudo-items of a VampPrior")
    beta: PositiveFloat = Field(1.0, description="weight of KL(q‖p); 1 is the evidence bound")
    free_bits: NonNegativeFloat = Field(0.0, description="nats per latent below which KL is not pressed")
    warmup: NonNegativeInt = Field(0, description="training items over which the weight of KL rises to beta")
    samples: PositiveInt = Field(1, description="more than 1: the importance-weighted bound of so many draws")
    codebook: CodebookConfig = Field(CodebookConfig(), description="of vector-quantised latents, posterior codes")
    conditional: bool = Field(True, description="learn the labels, where the data has them")
