"""The one validated schema: what a run is, as names and numbers. Everything else is built from it in `build`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from pushforward.config.family_schema import ModelConfig
from pushforward.config.family_schema.diffusion import DiffusionConfig
from pushforward.config.sections import MOST, Fraction, PositiveInt, Section


class DataConfig(Section):
    """Where the data is and how it is divided."""

    source: str = Field(
        "digits", description="`digits`, a folder of images, or a .npy .npz .csv .parquet .txt .h5 .nii .dcm file"
    )
    labels: bool | None = Field(None, description="false ignores the classes that the data has, true insists on them")
    label_column: str | None = Field(None, description="the column of a table that holds the class")
    target: tuple[str, ...] | None = Field(None, description="columns of a table that are predicted from the others")
    classify: bool | None = Field(None, description="predict a class, also where the target is numbers")
    validation: Fraction | str = Field(0.1, description="share held out for validation, or a source of its own")
    test: Fraction | str = Field(0.1, description="share held out for the final figures, or a source of its own")
    split_seed: NonNegativeInt = 0
    limit: Annotated[int, Field(ge=2, lt=MOST)] | None = Field(None, description="keep at most so many items")
    mode: Literal["L", "RGB", "RGBA"] | None = Field(None, description="convert every image file to this")
    channels_last: bool | None = Field(None, description="settles shapes of arrays that could be either")
    max_pixels: PositiveInt = Field(1 << 26, description="larger image files are refused")
    tokens: str = Field("characters", description="of texts: characters, bytes, or the path of a tokenizer.json")
    length: Annotated[int, Field(ge=2, le=1 << 20)] | None = Field(None, description="units in a piece of text [128]")
    lines: bool = Field(False, description="every line of a text is an item of its own")
    categories: tuple[str, ...] = Field((), description="columns of whole numbers that are categories")
    conditions: str | None = Field(
        None,
        description="an .npz or .h5 with arrays vector, tokens or image: what else is known of each item, in order",
    )
    memory_limit: PositiveInt | None = Field(None, description="bytes; a third of the memory when not given")
    flip: bool = Field(False, description="augmentation: mirror images left-right at random")
    shift: NonNegativeInt = Field(0, description="augmentation: shift images by up to this many pixels")


AUGMENTATIONS = ("flip", "shift")
"""The entries of the data's section that say how it is varied; all others say what is read."""


class TrainingConfig(Section):
    """How it is trained; the meaning of each entry is that of the training recipe."""

    batch_size: PositiveInt = 128
    steps: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    learning_rate: PositiveFloat | None = Field(None, description="what suits the family when not given")
    warmup_steps: NonNegativeInt = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: NonNegativeFloat = 0.0
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    amsgrad: bool = False
    clip_norm: PositiveFloat | None = 1.0
    accumulate: PositiveInt = 1
    ema_lengths: tuple[PositiveFloat, ...] = (0.05, 0.1)
    ema_decays: tuple[PositiveFloat, ...] = ()
    validate_every: PositiveInt | None = None
    save_every: PositiveInt | None = None
    save_seconds: PositiveFloat | None = 60.0
    keep_last: PositiveInt = 3
    log_every: PositiveInt = 10
    preview_every: PositiveInt | None = None
    seed: NonNegativeInt = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = Field(False, description="networks compiled by torch.compile, for accelerators")
    device: str | None = None


class Config(Section):
    """A whole run: data, model, training."""

    data: DataConfig = DataConfig()
    model: ModelConfig = DiffusionConfig()
    training: TrainingConfig = TrainingConfig()
