"""`pushforward info`: what is in a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.output import DEFAULT, Common

if TYPE_CHECKING:
    from pushforward.api import Stored


def info(
    run: Annotated[Path, Parameter(name="RUN", help="the folder of a run, or one checkpoint of it")],
    /,
    *,
    toml: Annotated[
        bool, Parameter(negative=(), show_default=False, help="print the configuration as TOML, to train it again")
    ] = False,
    common: Common = DEFAULT,
) -> None:
    """Show what a run is: its data, model, how far it has come, its best checkpoint and its configuration."""
    from pushforward import api

    best, last = common.opened(api.stored(run, "best")), api.stored(run, "last")
    config = best.config.model_dump(mode="json")
    if toml and not common.json:
        common.result({}, *_toml(config))
        return
    common.result(_values(best, last, config), *_lines(best, last, config))


def _values(best: Stored, last: Stored, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": best.path,
        "step": last.checkpoint.step,
        "total": last.total,
        "seconds": last.checkpoint.state["seconds"],
        "best": _checkpoint(best),
        "last": _checkpoint(last),
        "data": best.about_data.model_dump(),
        "labels": best.format.label_names,
        "torch": last.checkpoint.state["torch"],
        "config": config,
    }


def _checkpoint(stored: Stored) -> dict[str, Any]:
    point = stored.checkpoint
    return {
        "path": point.path,
        "step": point.step,
        "validation": point.state["value"],
        "weights": point.best_weights,
        "holds": list(point.groups),
    }


def _lines(best: Stored, last: Stored, config: Mapping[str, Any]) -> Iterator[str]:
    from pushforward.config.build import describe_model
    from pushforward.training.progress import duration

    done, point = last.checkpoint, best.checkpoint
    state = "complete" if done.step == last.total else "unfinished: the command that began it continues it"
    score = "" if point.state["value"] is None else f", validation loss {point.state['value']:.4g}"
    yield f"run         {best.path}"
    yield f"trained     {done.step} of {last.total} steps in {duration(done.state['seconds'])} ({state})"
    yield f"best        step {point.step}{score} ({point.best_weights}) in {point.path}"
    yield f"model       {describe_model(best.config.model, best.format)}"
    for i, message in enumerate(best.about_data.messages):
        yield f"{'' if i else 'data':<12}{message}"
    if best.format.label_names:
        names = best.format.label_names
        yield f"labels      {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    yield f"made with   torch {done.state['torch']}, seed {config['training']['seed']}"
    yield "configuration"
    yield from (f"  {line}" for line in _toml(config))


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _toml(config: Mapping[str, Any]) -> Iterator[str]:
    from pushforward.config.schema import Config

    return as_toml(config, Config().model_dump(mode="json"))


def as_toml(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """The configuration as TOML; "none" where something is not set that otherwise would be."""
    usual = dict(_flat(defaults))
    for name, value in _flat(config):
        if value is not None:
            yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
        elif usual.get(name) is not None:
            yield f'{name} = "none"'
