"""What `state.json` of a checkpoint may hold, entry by entry: whoever wrote it, nothing else is believed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError

Step = Annotated[int, Field(ge=0, lt=1 << 53)]
Sums = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Best(_Section):
    step: Step
    value: float
    weights: str


class _Validation(_Section):
    step: Step
    losses: dict[str, float | None]


class _Pending(_Section):
    count: Step
    sums: list[Sums]


class _State(_Section):
    """All but the step may be missing, and then nobody asks; hence the defaults, which say nothing."""

    step: Step
    total: Annotated[int, Field(ge=1, lt=1 << 53)] = 1
    seconds: NonNegativeFloat = 0.0
    best: _Best | None = None
    value: float | None = None
    best_weights: str = ""
    history: list[_Validation] = []
    pending: _Pending | None = None
    recipe: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    torch: str = ""


def trouble_in(state: dict[str, Any]) -> str | None:
    """What is wrong with a state, in words, or None."""
    if "step" not in state:
        return "it does not say at which step it was written"
    try:
        _State.model_validate(state)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where} is not what a training writes ({first['msg'][0].lower()}{first['msg'][1:]})"
    return None
