"""`pushforward train`: begin a run, or continue it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.options import Device
from pushforward.cli.output import DEFAULT, Common, quoted
from pushforward.config.presets import PREDICTIVE, PRESETS, USUAL
from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.api import Run
    from pushforward.config.schema import Config
    from pushforward.data.dataset import Dataset
    from pushforward.training.observers import Observer


def train(
    data: Annotated[str, Parameter(name="DATA", help="data, or a .toml file that says everything")],
    /,
    *,
    family: Annotated[str | None, Parameter(help=f"{', '.join(USUAL | PREDICTIVE)} [diffusion]")] = None,
    preset: Annotated[str | None, Parameter(help=f"{', '.join(PRESETS)} [edm]")] = None,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="folder of the run [runs/NAME-PRESET]")] = None,
    steps: Annotated[int | None, Parameter(help="optimiser steps [6000]")] = None,
    minutes: Annotated[float | None, Parameter(help="train for about this long instead")] = None,
    seed: Annotated[int | None, Parameter(help="of all randomness [0]")] = None,
    start_from: Annotated[Path | None, Parameter(name="--from", help="a run whose weights are the start")] = None,
    device: Device = None,
    restart: Annotated[
        bool, Parameter(negative=(), show_default=False, help="begin anew; an earlier run is moved aside")
    ] = False,
    settings: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative=(), show_default=False, help="any setting, e.g. training.batch_size=64"),
    ] = (),
    label_column: Annotated[str | None, Parameter(help="the column of a table that holds the class")] = None,
    target: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="the column that the family card predicts; several in turn"),
    ] = (),
    classify: Annotated[
        bool | None, Parameter(show_default=False, help="predict a class, or numbers [a class where it is text]")
    ] = None,
    tensorboard: Annotated[
        bool, Parameter(negative=(), show_default=False, help="write a TensorBoard log too")
    ] = False,
    common: Common = DEFAULT,
) -> None:
    """Train a model on data, in a folder; the same command continues an interrupted run exactly.

    Settings come from the preset, over it a TOML file, over it the options and --set.
    """
    from pushforward import api

    if steps is not None and minutes is not None:
        raise UserError("--steps and --minutes were both given; a training has one length, give one of them")
    given: dict[str, Any] = {"family": family, "label_column": label_column, "seed": seed, "device": device}
    given |= {"steps": steps, "minutes": minutes, "target": target or None, "classify": classify}
    file = Path(data) if data.lower().endswith(".toml") else None
    config = api.configure(
        *settings,
        preset=preset,
        file=file,
        entries=_entries(None if file else data, given),
        start_from=start_from if preset is None else None,
    )
    run = run_training(
        config,
        out or default_out(data, preset or (USUAL | PREDICTIVE).get(config.model.family)),
        common,
        start_from=start_from,
        restart=restart,
        tensorboard=tensorboard,
    )
    common.result(summary(run), *_said(run))


def run_training(
    config: Config,
    out: Path,
    common: Common,
    *,
    start_from: Path | None = None,
    restart: bool = False,
    tensorboard: bool = False,
) -> Run:
    """Read the data, say what was noticed, train with progress and previews."""
    from pushforward import api
    from pushforward.config.build import describe_model, resolve

    items = api.load_data(config)
    config = resolve(config, items)
    common.say(*items.messages, describe_model(config.model, items.format))
    if len(items.train) < config.training.batch_size:
        common.say(
            f"there are {len(items.train)} training items, fewer than a batch of {config.training.batch_size}: each is "
            "met several times in a step"
        )
    common.say(f"training in {out}")
    observers = _observers(out, items, common, tensorboard)
    return api.fit(items, out, config, start_from=start_from, observers=observers, restart=restart)


def _entries(source: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as entries of a configuration; what was not given says nothing."""
    names = ("label_column", "target", "classify")
    data = {"source": source} | {name: given[name] for name in names}
    training = {name: given[name] for name in ("seed", "device")}
    entries = {
        "data": {name: value for name, value in data.items() if value is not None},
        "model": {"family": given["family"]} if given["family"] else {},
        "training": {name: value for name, value in training.items() if value is not None},
    }
    if given["steps"] is not None or given["minutes"] is not None:
        entries["training"] |= {"steps": given["steps"], "minutes": given["minutes"]}
    return entries


def default_out(data: str, preset: str | None) -> Path:
    """`runs/digits-edm` for data, `runs/mine` for mine.toml."""
    path = Path(data)
    if path.suffix.lower() == ".toml":
        return Path("runs") / path.stem
    name = path.resolve().name if path.is_dir() else path.stem
    return Path("runs") / f"{name or 'data'}-{preset or 'edm'}"


def _observers(out: Path, items: Dataset, common: Common, tensorboard: bool) -> list[Observer]:
    from pushforward.training.observers import TensorBoard
    from pushforward.training.previews import previews
    from pushforward.training.progress import ProgressBar

    found: list[Observer] = [ProgressBar(common.console()), previews(out, items.format)]
    return [*found, TensorBoard(out / "tensorboard")] if tensorboard else found


def summary(run: Run) -> dict[str, Any]:
    """How a training ended, for a program."""
    from pushforward.api import advice_on

    outcome = run.outcome
    assert outcome is not None
    best = outcome.best
    return {
        "run": run.path,
        "step": outcome.step,
        "total": outcome.total,
        "seconds": round(outcome.seconds, 3),
        "checkpoint": outcome.checkpoint,
        "best": {"step": best.step, "validation": best.value, "weights": best.weights} if best else None,
        "notes": list(outcome.notes),
        "advice": list(advice_on(run)),
    }


def _said(run: Run) -> list[str]:
    from pushforward.api import advice_on
    from pushforward.training.progress import duration

    outcome = run.outcome
    assert outcome is not None
    best = outcome.best
    score = f"; best validation loss {best.value:.4g} at step {best.step} ({best.weights})" if best else ""
    first = "predict {0} rows.csv -o out.csv" if run.config.model.family in PREDICTIVE else "sample {0} -n 64"
    return [
        f"done: {outcome.step} steps in {duration(outcome.seconds)}{score}",
        *(f"advice: {sentence}" for sentence in advice_on(run)),
        f"the run is in {run.path}; what to do next:",
        f"  pushforward {first.format(quoted(run.path))}",
        f"  pushforward report {quoted(run.path)}",
    ]
