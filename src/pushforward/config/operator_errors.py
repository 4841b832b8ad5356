"""What is wrong with an operator file, in one sentence: entries by their names, without the unions behind them."""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from pushforward.config.operator_schema import MeasurementConfig, NoiseSection, OperatorSection

_MEMBERS = typing.get_args(typing.get_args(OperatorSection)[0])
_SECTIONS: dict[str, type[BaseModel]] = {member.model_fields["kind"].default: member for member in _MEMBERS}
_NOISE_ALONE = {"sigma": ("gaussian", "laplace"), "peak": ("poisson",)}
_WITHOUT_FILE = ("kernel", "size", "width", "acceleration", "centre")


def explained(error: ValidationError) -> str:
    """The first mistake, with what was given or what is possible."""
    problem = min(error.errors(include_url=False), key=_order)
    where = [part for part in problem["loc"] if isinstance(part, str) and not _is_type(part)]
    kind = next((part for part in where[1:2] if where[0] == "operator" and part in _SECTIONS), None)
    names = [part for part in where if part != kind]
    name = ".".join(names) or "the file"
    of = f" of kind {kind}" if kind else ""
    match problem["type"]:
        case "extra_forbidden":
            return f"there is no entry {name}{of}; {_nearest(names[-1], _entries(names, kind))}"
        case "missing":
            return f"{name}{of} is missing"
        case "union_tag_invalid":
            return f"{name} is of the kind {problem['ctx']['tag']!r}; {_nearest(problem['ctx']['tag'], _SECTIONS)}"
        case "union_tag_not_found":
            return f"{name} has no kind; possible: {', '.join(_SECTIONS)}"
    message = (
        problem["msg"]
        .replace("Input should be", "it should be")
        .replace("Tuple", "the list")
        .replace(" after validation", "")
    )
    given = json.dumps(problem.get("input"), default=str)[:80]
    return f"{name}{of} is {given}: {message[0].lower()}{message[1:]}"


def unused(config: MeasurementConfig) -> str | None:
    """An entry that was given and says nothing, as another one stands in its place; None where there is none."""
    for name, kinds in _NOISE_ALONE.items():
        if name in config.noise.model_fields_set and config.noise.kind not in kinds:
            return f"noise of kind {config.noise.kind} has no {name}: that is for {' and '.join(kinds)}"
    for section in config.operators:
        given = [name for name in _WITHOUT_FILE if name in section.model_fields_set]
        if getattr(section, "file", None) is not None and given:
            return (
                f"operator of kind {section.kind} is given by its file, and {', '.join(given)} beside it: leave out one"
            )
    return None


def _order(problem: Any) -> tuple[bool, int, bool]:
    """Unknown entries first; of the members of a union the one that was read farthest, or was asked for by a list."""
    return problem["type"] != "extra_forbidden", -len(problem["loc"]), problem["type"] != "too_short"


def _is_type(part: str) -> bool:
    return "[" in part or part.startswith(("constrained-", "tuple", "tagged-"))


def _entries(names: list[str], kind: str | None) -> Iterable[str]:
    if kind:
        return _SECTIONS[kind].model_fields
    return (NoiseSection if names[0] == "noise" and len(names) > 1 else MeasurementConfig).model_fields


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"possible: {', '.join(known)}"
