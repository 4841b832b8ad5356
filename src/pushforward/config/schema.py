"""The one validated schema: what a run is, as names and numbers. Everything else is built from it in `build`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

_MOST = 1 << 53
"""Beyond it whole numbers are no longer those of JSON."""

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0, lt=_MOST)]
Channels = Annotated[int, Field(gt=0, le=1 << 14)]
Multipliers = Annotated[tuple[Annotated[int, Field(gt=0, le=64)], ...], Field(min_length=1, max_length=12)]
Layers = Annotated[int, Field(gt=0, le=512)]
Levels = Annotated[int, Field(gt=1, le=100_000)]
Size = Annotated[float, Field(gt=0, le=1e6)]
"""Of noise and of data in model units: wider than any use, and far from what overflows."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, validate_default=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Where the data is and how it is divided."""

    source: str = Field("digits", description="`digits`, a folder of images, or a .npy .npz .csv .parquet file")
    labels: bool | None = Field(None, description="false ignores the classes that the data has, true insists on them")
    label_column: str | None = Field(None, description="the column of a table that holds the class")
    validation: Fraction | str = Field(0.1, description="share held out for validation, or a source of its own")
    test: Fraction | str = Field(0.1, description="share held out for the final figures, or a source of its own")
    split_seed: NonNegativeInt = 0
    limit: Annotated[int, Field(ge=2, lt=_MOST)] | None = Field(None, description="keep at most so many items")
    mode: Literal["L", "RGB", "RGBA"] | None = Field(None, description="convert every image file to this")
    channels_last: bool | None = Field(None, description="settles shapes of arrays that could be either")
    max_pixels: PositiveInt = Field(1 << 26, description="larger image files are refused")
    memory_limit: PositiveInt | None = Field(None, description="bytes; a third of the memory when not given")
    flip: bool = Field(False, description="augmentation: mirror images left-right at random")
    shift: NonNegativeInt = Field(0, description="augmentation: shift images by up to this many pixels")


AUGMENTATIONS = ("flip", "shift")
"""The entries of the data's section that say how it is varied; all others say what is read."""


class UNetConfig(_Section):
    kind: Literal["unet"] = "unet"
    width: Channels = 64
    multipliers: Multipliers = (1, 2)
    blocks: Layers = 2
    attention_at: tuple[NonNegativeInt, ...] | None = None
    dropout: Fraction = 0.0


class MLPConfig(_Section):
    kind: Literal["mlp"] = "mlp"
    width: Channels = 256
    depth: Layers = 4
    dropout: Fraction = 0.0


class AutoNetworkConfig(_Section):
    """Chosen from the shape of the data when the run is made: a U-Net for images, an MLP for vectors and tables."""

    kind: Literal["auto"] = "auto"
    width: Channels | None = Field(None, description="channels or hidden units; chosen from the data when not given")
    dropout: Fraction = 0.0


class CustomNetworkConfig(_Section):
    """A network given from Python; a run of it is loaded by passing the network again."""

    kind: Literal["custom"] = "custom"
    name: str


NetworkConfig = Annotated[UNetConfig | MLPConfig | AutoNetworkConfig | CustomNetworkConfig, Field(discriminator="kind")]


class VPConfig(_Section):
    kind: Literal["vp"] = "vp"
    beta_min: Size = 0.1
    beta_max: Size = 20.0


class CosineConfig(_Section):
    kind: Literal["cosine"] = "cosine"


class SubVPConfig(_Section):
    kind: Literal["subvp"] = "subvp"
    beta_min: Size = 0.1
    beta_max: Size = 20.0


class VEConfig(_Section):
    kind: Literal["ve"] = "ve"
    sigma_min: Size = 0.01
    sigma_max: Size = 50.0


class EDMConfig(_Section):
    kind: Literal["edm"] = "edm"
    sigma_min: Size = 0.002
    sigma_max: Size = 80.0


class StraightConfig(_Section):
    kind: Literal["straight"] = "straight"


class DDPMConfig(_Section):
    """An exact table of DDPM levels."""

    kind: Literal["ddpm"] = "ddpm"
    schedule: Literal["linear", "cosine", "sqrt-linear"] = "linear"
    levels: Levels = 1000
    zero_terminal_snr: bool = False


PathConfig = Annotated[
    VPConfig | CosineConfig | SubVPConfig | VEConfig | EDMConfig | StraightConfig | DDPMConfig,
    Field(discriminator="kind"),
]


class ModelConfig(_Section):
    """What is trained."""

    family: Literal["diffusion"] = "diffusion"
    path: PathConfig = EDMConfig()
    prediction: Literal["noise", "data", "v", "score", "flow", "edm"] = "edm"
    sigma_data: Size | None = Field(None, description="the data's standard deviation; measured when not given")
    times: Literal["log-normal", "uniform", "logit-normal"] = Field("log-normal", description="law of training times")
    network: NetworkConfig = AutoNetworkConfig()
    conditional: bool = Field(True, description="learn the labels, where the data has them")
    label_dropout: Fraction = Field(0.1, description="share of labels left out in training, so that guidance works")


class TrainingConfig(_Section):
    """How it is trained; the meaning of each entry is that of the training recipe."""

    batch_size: PositiveInt = 128
    steps: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    learning_rate: PositiveFloat = 1e-3
    warmup_steps: NonNegativeInt = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: NonNegativeFloat = 0.0
    clip_norm: PositiveFloat | None = 1.0
    accumulate: PositiveInt = 1
    ema_lengths: tuple[PositiveFloat, ...] = (0.05, 0.1)
    validate_every: PositiveInt | None = None
    save_every: PositiveInt | None = None
    save_seconds: PositiveFloat | None = 60.0
    keep_last: PositiveInt = 3
    log_every: PositiveInt = 10
    preview_every: PositiveInt | None = None
    seed: NonNegativeInt = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str | None = None


class Config(_Section):
    """A whole run: data, model, training."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
