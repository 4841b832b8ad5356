"""The section of CARD."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pushforward.config.sections import Channels, Fraction, Layers, Levels, Section

NO_TARGET = (
    "the family card predicts a column of a table: name it, --target COLUMN (data.target), in a .csv, .tsv or .parquet "
    "file"
)


class CardConfig(Section):
    """A regression or classification with its uncertainty (CARD)."""

    family: Literal["card"] = "card"
    setting: Literal["usual", "published"] = Field("usual", description="published: as in the paper's experiments")
    width: Channels = 128
    depth: Layers = 2
    dropout: Fraction = Field(0.1, description="of the network")
    feature_dropout: Fraction = Field(
        0.0, description="of the features that the network is told beside f: 0.3 with hundreds of them"
    )
    mean_dropout: Fraction = Field(
        0.0, description="of f in the published setting, where it differs from table to table"
    )
    levels: Levels = 1000
    folds: Annotated[int, Field(ge=2, le=50)] | None = Field(
        None, description="that f is cross-fitted in: 10 where there are few rows, else 5"
    )
    log_probabilities: bool | None = Field(
        None, description="whether the network of classes is told the logarithms of f, as it is if nothing is said"
    )
    small: bool | None = Field(None, description="whether f may be fitted by what takes long on many rows")
    conditional: bool = Field(False, description="always false: features are no labels")
