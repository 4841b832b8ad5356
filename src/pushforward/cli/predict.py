"""`pushforward predict`: the response of the rows of a table, with its uncertainty."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import Device, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.config.samplers import SAMPLERS

if TYPE_CHECKING:
    from pushforward.config.predicting import Predicted

_SHOWN = 10


def predict(
    run: Annotated[Path, Parameter(name="RUN", help="the folder of a run of the family card")],
    rows: Annotated[
        Path, Parameter(name="ROWS", help="a .csv, .tsv or .parquet table with the columns it was trained on")
    ],
    /,
    *,
    out: Annotated[
        Path | None, Parameter(name=("--out", "-o"), help="one row per row: .csv, .tsv, .parquet or .npz [printed]")
    ] = None,
    samples: Annotated[int | None, Parameter(name=("-n", "--samples"), help="draws of each row [100]")] = None,
    quantile: Annotated[
        tuple[float, ...],
        Parameter(negative=(), show_default=False, help="which; several in turn [2.5, 5, 25, 50, 75, 95, 97.5 %]"),
    ] = (),
    draws: Annotated[bool, Parameter(negative=(), show_default=False, help="write the draws themselves too")] = False,
    sampler: Annotated[str | None, Parameter(help=", ".join(SAMPLERS))] = None,
    steps: Annotated[int, Parameter(help="evaluations of the network per draw")] = 20,
    seed: Annotated[int, Parameter(help="a row's prediction depends on it and the row alone")] = 0,
    which: Which = "best",
    device: Device = None,
    common: Common = DEFAULT,
) -> None:
    """Predict the response of rows: mean, deviation and quantiles, or classes with probabilities and certainty."""
    from pushforward import api
    from pushforward.config.predicting import check_written
    from pushforward.models.predictor import SAMPLES

    if out is not None:
        check_written(out)
    found = common.opened(api.load(run, which=which, device=device))
    began = time.perf_counter()
    with Bar(common, "predicting") as bar:
        predicted = api.predict(
            found,
            rows,
            samples=SAMPLES if samples is None else samples,
            levels=sorted(quantile) or None,
            keep=draws,
            evaluations=steps,
            sampler=sampler,
            seed=seed,
            progress=bar,
        )
    seconds = time.perf_counter() - began
    if out is not None:
        predicted.save(out)
    values: dict[str, object] = {"rows": len(predicted), "columns": list(predicted.columns), "out": out}
    values |= {"seconds": round(seconds, 3), "checkpoint": found.checkpoint.path, "weights": found.weights}
    if out is None:
        values["predictions"] = {name: column.tolist() for name, column in predicted.columns.items()}
    common.result(values, *_lines(predicted, out, seconds))


def _lines(predicted: Predicted, out: Path | None, seconds: float) -> Iterator[str]:
    if out is not None:
        yield f"{len(predicted)} rows in {seconds:.3g} s: {out}"
        return
    names = [name for name in predicted.columns if "_draw" not in name][:9]
    yield "".join(f"{name[:13]:>14}" for name in names)
    for i in range(min(_SHOWN, len(predicted))):
        values = (predicted.columns[name][i] for name in names)
        yield "".join(f"{value:>14.5g}" if isinstance(value, float) else f"{value!s:>14}" for value in values)
    if len(predicted) > _SHOWN:
        yield f"… {len(predicted)} rows; -o out.csv writes all of them"
