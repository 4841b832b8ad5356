"""Reading a configuration: presets, a TOML file and `a.b=c` settings, merged in this order and then validated."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pushforward.config.schema import Config
from pushforward.errors import UserError

_TAGS = ("family", "kind")
"""The entries that say which of several sections one is."""
_TAGGED = {
    ("model",): "family",
    ("model", "path"): "kind",
    ("model", "network"): "kind",
    ("model", "first_stage"): "kind",
    ("model", "inner"): "family",
    ("model", "inner", "path"): "kind",
    ("model", "inner", "network"): "kind",
}
_LARGEST = 1 << 20
"""Bytes: no configuration of a run is longer than a mebibyte."""


def read_toml(path: Path) -> dict[str, Any]:
    """The entries of a TOML file. Raises UserError where it cannot be read, with the line that is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise UserError(f"{path} is longer than a mebibyte: that is not a configuration")
        return _with_none(tomllib.loads(data.decode()))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None


def _with_none(value: Any) -> Any:
    """TOML has no word for "not set": the text "none" stands for it."""
    if isinstance(value, dict):
        return {key: _with_none(item) for key, item in value.items()}
    return None if value == "none" else value


def parse_setting(text: str) -> tuple[tuple[str, ...], Any]:
    """`a.b=c` as (("a", "b"), value); the value is read as TOML where it is TOML, else as text."""
    name, equals, value = text.partition("=")
    keys = tuple(part.strip().replace("-", "_") for part in name.split("."))
    if not equals or not all(keys):
        raise UserError(f"a setting is written name=value, e.g. --set training.batch_size=64; got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")
        return keys, parsed["value"] if set(parsed) == {"value"} else value
    except (tomllib.TOMLDecodeError, RecursionError):
        return keys, None if value.strip().lower() in {"none", "null"} else value.strip()


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section; a section whose `family` or `kind` changes starts anew."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            changed = any(tag in value and tag in old and value[tag] != old[tag] for tag in _TAGS)
            out[key] = dict(value) if changed else merge(old, value)
        else:
            out[key] = value
    return out


def with_settings(entries: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Entries with `a.b=c` settings applied, families and kinds of sections first, else in order.

    `model.path=vp` names the kind of a section that has kinds, `model=vae` the family of the model.
    """
    out, parsed = dict(entries), [_tagged(parse_setting(text)) for text in settings]
    for keys, value in sorted(parsed, key=_order):
        nested: Any = value
        for key in reversed(keys):
            nested = {key: nested}
        out = merge(out, nested)
    return out


def _tagged(setting: tuple[tuple[str, ...], Any]) -> tuple[tuple[str, ...], Any]:
    """A setting that names a kind or family, with the entry that holds it."""
    keys, value = setting
    return ((*keys, _TAGGED[keys]), value) if keys in _TAGGED and isinstance(value, str) else setting


def _order(setting: tuple[tuple[str, ...], Any]) -> int:
    last = setting[0][-1]
    return _TAGS.index(last) if last in _TAGS else len(_TAGS)


def family_of(layers: Sequence[Mapping[str, Any]], settings: Sequence[str] = ()) -> str | None:
    """The family of model that entries and settings ask for, None where they say nothing of it."""
    found: dict[str, Any] = {}
    for layer in layers:
        found = merge(found, layer)
    found = with_settings(found, settings)
    model = found.get("model")
    return model.get("family") if isinstance(model, Mapping) else None


def validate(entries: Mapping[str, Any]) -> Config:
    """The configuration of some entries. Raises UserError naming the first key that is wrong and what is possible."""
    try:
        return Config.model_validate(entries)
    except ValidationError as error:
        raise UserError(_explain(error)) from None
    except (OverflowError, RecursionError):
        raise UserError(
            "a configuration holds a number or a nesting beyond all measure; look at what was given"
        ) from None


def read_config(layers: Sequence[Mapping[str, Any]], settings: Sequence[str] = ()) -> Config:
    """Layers of entries merged in order, then `a.b=c` settings, then validated."""
    entries: dict[str, Any] = Config().model_dump()
    for layer in layers:
        # validated now: what is laid over it must not hide what is wrong in a file, and finds all sections within one
        entries = validate(merge(entries, layer)).model_dump()
    tags = [setting for setting in settings if _order(_tagged(parse_setting(setting))) < len(_TAGS)]
    rest = [setting for setting in settings if setting not in tags]
    for setting in sorted(tags, key=lambda tag: len(parse_setting(tag)[0])):  # a section's kind before those within it
        entries = validate(with_settings(entries, [setting])).model_dump()
    return validate(with_settings(entries, rest))


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    unknown = [p for p in problems if p["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    names, known, elsewhere = _walk([str(part) for part in problem["loc"]])
    name = ".".join(names) or "the configuration"
    if problem["type"] == "extra_forbidden":
        section = ".".join(names[:-1])
        near = difflib.get_close_matches(names[-1], known, n=1, cutoff=0.5)
        if elsewhere:
            tag = _TAGGED.get(tuple(names[:-1]), "kind")
            return f"{name} is a setting where {section}.{tag} is {' or '.join(elsewhere)}; give that too"
        hint = f"did you mean {'.'.join([*names[:-1], near[0]])}?" if near else f"possible: {', '.join(known)}"
        return f"{name} is not a setting; {hint}"
    if problem["type"] == "union_tag_invalid":
        context = problem.get("ctx", {})
        expected = str(context.get("expected_tags", "")).replace("'", "")
        near = difflib.get_close_matches(str(context.get("tag")), expected.split(", "), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{name} is {context.get('tag')!r}; possible: {expected}{hint}"
    given = json.dumps(problem.get("input"), default=str)
    message = problem["msg"].replace("Input should be", "it should be")
    return f"{name} is {given[:80]}; {message[0].lower() + message[1:]}"


def _walk(location: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """What a location that pydantic gives means.

    Returns the location without the tags of unions and types, the fields of the section that holds its last entry, and
    the other kinds of this section that have an entry of that name.
    """
    section: Any = Config
    names: list[str] = []
    known, kinds = list(Config.model_fields), dict[str, type[BaseModel]]()
    for part in location:
        if _is_section(section):
            names.append(part)
            known = list(section.model_fields)
            section = section.model_fields[part].annotation if part in section.model_fields else None
            kinds = kinds if part not in known else {}
        else:
            kinds = {tag: member for member in get_args(section) if (tag := _tag_of(member))}
            section = kinds.get(part)
    return names, known, [kind for kind, member in kinds.items() if names[-1] in member.model_fields]


def _tag_of(value: Any) -> str | None:
    """The family or kind that a section is of; None for one that is the only one."""
    if not _is_section(value):
        return None
    return next((value.model_fields[tag].default for tag in _TAGS if tag in value.model_fields), None)


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
