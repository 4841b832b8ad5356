"""`pushforward compare`: families of models on the same data with the same budget, one table and one page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pushforward.cli.options import Device
from pushforward.cli.output import DEFAULT, Common
from pushforward.config.presets import GENERAL
from pushforward.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pushforward.data.dataset import Dataset
    from pushforward.report.contenders import FamilyComparison
    from pushforward.report.family_page import Shown
    from pushforward.training.observers import Observer

MINUTES, PARAMETERS, SEEDS = 1.0, 300_000, 3
_SHOWN = 400


def compare(
    data: Annotated[str, Parameter(name="DATA", help="data, as for `train`")],
    /,
    *,
    families: Annotated[
        tuple[str, ...],
        Parameter(name="--family", negative=(), show_default=False, help=f"one or more [{', '.join(GENERAL)}]"),
    ] = (),
    minutes: Annotated[float | None, Parameter(help=f"training of each, for about this long [{MINUTES:g}]")] = None,
    steps: Annotated[int | None, Parameter(help="training of each, in steps instead")] = None,
    parameters: Annotated[int, Parameter(help="of each model, at most; 0 leaves each its own default")] = PARAMETERS,
    seeds: Annotated[int, Parameter(help="how many trainings of each family")] = SEEDS,
    number: Annotated[
        int | None, Parameter(name=("-n", "--number"), help="samples that are scored [half of the training split]")
    ] = None,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="folder [runs/NAME-compare]")] = None,
    label_column: Annotated[str | None, Parameter(help="the column of a table that holds the class")] = None,
    settings: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative=(), show_default=False, help="settings of all, e.g. training.batch_size=64"),
    ] = (),
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Train every family of models on the same data with the same budget; compare likelihood, samples and cost.

    An interrupted comparison goes on where it was; what is complete is not done again.
    """
    from pushforward.config.comparing import Budget, check_asked
    from pushforward.config.comparing import compare as contend
    from pushforward.config.datasets import load_data
    from pushforward.config.read import read_config
    from pushforward.report.contenders import write_json
    from pushforward.report.family_page import write_family_page
    from pushforward.training.progress import ProgressBar

    if seeds < 1:
        raise UserError(f"a comparison needs at least one seed; got {seeds}")
    check_asked(families or GENERAL, range(seeds), number)
    budget = Budget(MINUTES if minutes is None and steps is None else minutes, steps, parameters or None)
    source = {"source": data} if label_column is None else {"source": data, "label_column": label_column}
    items = load_data(read_config([{"data": source}], [one for one in settings if one.startswith("data.")]))
    place = out or Path("runs") / f"{_name(data)}-compare"
    common.say(*items.messages, f"comparing in {place}")

    def observers() -> Sequence[Observer]:
        return [ProgressBar(common.console())]

    found = contend(
        items,
        place,
        budget,
        families=families or GENERAL,
        seeds=range(seeds),
        number=number,
        settings=[one for one in settings if not one.startswith("data.")],
        device=device,
        observers=observers,
        tell=common.say,
    )
    write_json(place / "comparison.json", found.to_dict())
    given: dict[str, Sequence[object]] = {
        "--family": families,
        "--minutes": () if budget.minutes is None else [f"{budget.minutes:g}"],
        "--steps": _one(steps),
        "--parameters": [parameters],
        "--seeds": [seeds],
        "--number": _one(number),
        "--label-column": _one(label_column),
        "--set": settings,
        "--device": _one(device),
        "--out": _one(out),
    }
    page = write_family_page(found, _shown(found, items, device), _command(data, given), place / "comparison.html")
    common.result({**found.to_dict(), "out": page}, *_lines(found), f"the page is {page.resolve()}")


def _one(value: object) -> Sequence[object]:
    """An option's value, where it was given."""
    return () if value is None else [value]


def _command(data: str, given: Mapping[str, Sequence[object]]) -> str:
    """What was typed, in full, so that it makes the same comparison again."""
    options = [part for name, values in given.items() for value in values for part in (name, str(value))]
    return shlex.join(["pushforward", "compare", data, *options])


def _name(data: str) -> str:
    path = Path(data)
    return (path.resolve().name if path.is_dir() else path.stem) or "data"


def _shown(found: FamilyComparison, items: Dataset, device: str | None) -> Shown:
    """Held-out items, and as many samples of the first seed of each family."""
    from pushforward import api
    from pushforward.report.evaluation import some_values
    from pushforward.report.family_page import Shown

    enough = 12 if len(items.format.shape) == 3 else _SHOWN
    real = some_values(items.test if len(items.test) >= enough else items.train, most=enough)[0]
    first = {one.family: one for one in reversed(found.contenders) if one.seed == found.seeds[0]}
    samples = {
        family: api.load(first[family].run, device=device).generator.sample(enough, seed=0).values
        for family in found.families
    }
    return Shown(items.format, real, samples)


def _lines(found: FamilyComparison) -> Iterator[str]:
    """A table for a terminal: a line per measure, a column per family, the real data last."""
    from pushforward.report.contenders import COSTS, MEASURES

    yield f"{'':<26}" + "".join(f"{family:>20}" for family in found.families) + f"{'real data':>12}"
    for measure in found.measured((*MEASURES, *COSTS)):
        cells = []
        for family in found.families:
            spread = found.spread(family, measure)
            cells.append("–" if spread is None else f"{spread.mean:.4g} ± {spread.sd:.2g}".replace(" ± nan", ""))
        real = found.real(measure)
        yield f"{measure.name:<26}" + "".join(f"{c:>20}" for c in cells) + ("" if real is None else f"{real:>12.4g}")
    yield f"{found.budget}; mean ± deviation over {len(found.seeds)} seeds"
