"""What all sections of a configuration have in common, and the kinds of numbers in them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = 1 << 53
"""Beyond it whole numbers are no longer those of JSON."""

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0, lt=MOST)]
Channels = Annotated[int, Field(gt=0, le=1 << 14)]
Multipliers = Annotated[tuple[Annotated[int, Field(gt=0, le=64)], ...], Field(min_length=1, max_length=12)]
Layers = Annotated[int, Field(gt=0, le=512)]
Levels = Annotated[int, Field(gt=1, le=100_000)]
Size = Annotated[float, Field(gt=0, le=1e6)]
"""Of noise and of data in model units: wider than any use, and far from what overflows."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, validate_default=True, allow_inf_nan=False)
