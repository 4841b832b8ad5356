"""The section of diffusion, score-based and flow-matching models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pushforward.config.family_schema.networks import AutoNetworkConfig, NetworkConfig
from pushforward.config.family_schema.paths import EDMConfig, PathConfig
from pushforward.config.sections import Channels, Fraction, Section, Size


class DiffusionConfig(Section):
    """A denoiser: diffusion, score-based and flow-matching models."""

    family: Literal["diffusion"] = "diffusion"
    path: PathConfig = EDMConfig()
    prediction: Literal["noise", "data", "v", "score", "flow", "edm"] = "edm"
    sigma_data: Size | None = Field(None, description="the data's standard deviation; measured when not given")
    loss: Literal["simple", "bound", "hybrid"] = Field(
        "simple", description="bound: the variational bound; hybrid: the simple loss, and the bound for the variance"
    )
    learned_variance: bool | None = Field(
        None, description="the network tells Var[x_0 | x_t] too, in as many more channels [with the hybrid loss]"
    )
    times: Literal["log-normal", "uniform", "logit-normal", "loss-aware"] | None = Field(
        None,
        description="law of training times [log-normal; uniform with the bound]; loss-aware: where the loss is large",
    )
    weighting: Literal["output", "noise", "data", "v", "edm", "min-snr", "p2", "likelihood"] = Field(
        "output", description="whose squared error is descended; output: that of what the network predicts"
    )
    network: NetworkConfig = AutoNetworkConfig()
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")
    told: dict[Literal["vector", "tokens", "tokens_mask", "image"], Channels] | None = Field(
        None, description="what it is told beside the class, and of how many numbers or channels [what the data has]"
    )
    condition_dropout: tuple[Fraction, Fraction] = Field(
        (0.1, 0.05),
        description="share of items told nothing at all in training; share of each condition left out alone",
    )
    coupling: Literal["independent", "assignment", "sinkhorn"] = Field(
        "independent", description="which noise goes with which item of a batch, on the straight path"
    )
