"""`pushforward bound`: the variational bound of −log P of pictures under a diffusion model, term by term."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import SOURCE, Device, Folder, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.config.bounding import BoundScores

_NAMES = {"prior": "L_T", "transitions": "sum of L_t-1", "decoder": "L_0", "bound": "the bound of -log P"}


def bound(
    run: Folder,
    /,
    *,
    data: Annotated[str, Parameter(help=SOURCE)] = "test",
    number: Annotated[int | None, Parameter(name=("-n", "--number"), help="the first so many items [all]")] = None,
    variance: Annotated[str, Parameter(help="of the ancestral steps: analytic, fixed-small, fixed-large")] = "analytic",
    steps: Annotated[int | None, Parameter(help="levels, one evaluation each [200; a table's own]")] = None,
    label: Annotated[str | None, Parameter(help="P(x given this class) [P(x)]")] = None,
    own_labels: Annotated[
        bool, Parameter(negative=(), show_default=False, help="P(x given the item's own class)")
    ] = False,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="a .csv with one row per item")] = None,
    seed: Annotated[int, Parameter(help="of the noises")] = 0,
    which: Which = "best",
    device: Device = None,
    batch_size: Annotated[int, Parameter(help="items computed at once")] = 256,
    common: Common = DEFAULT,
) -> None:
    """Bound -log P of pictures of whole numbers under a diffusion model: L_T + sum of L_t-1 + L_0, in nats and bits.

    `likelihood` gives the density of the same network's probability flow, which is another model of the data.
    """
    from pushforward import api
    from pushforward.data.atomic import write_file

    if out is not None and out.suffix.lower() != ".csv":
        raise UserError(f"the terms are written as .csv; got {out}")
    found = common.opened(api.load(run, which=which, device=device))
    with Bar(common, "bounding", number) as bar:
        scores = api.bound(
            found,
            data,
            number=number,
            label=label,
            own_labels=own_labels,
            variance=variance,
            steps=steps,
            seed=seed,
            batch_size=batch_size,
            progress=bar,
        )
    if out is not None:
        write_file(out, partial(_write_csv, scores))
    values = {
        "number": len(scores),
        "nats": {name: _mean(column) for name, column in scores.columns().items()},
        "bits_per_dim": {name: scores.bits(_mean(column)) for name, column in scores.columns().items()},
        "bits_per_dim_standard_error": scores.bits(_error(scores.columns()["bound"])),
        "dimensions": scores.dim,
        "steps": scores.steps,
        "variance": scores.variance,
        "data": data,
        "out": out,
        "checkpoint": found.checkpoint.path,
        "weights": found.weights,
    }
    common.result(values, *_lines(scores, out))


def _lines(scores: BoundScores, out: Path | None) -> Iterator[str]:
    yield f"{'':<24}{'nats per item':>20}{'bits per dimension':>24}"
    for name, column in scores.columns().items():
        mean, error = _mean(column), _error(column)
        nats, bits = f"{mean:.3f} ± {error:.2g}", f"{scores.bits(mean):.4f} ± {scores.bits(error):.2g}"
        yield f"{_NAMES[name]:<24}{nats:>20}{bits:>24}"
    yield f"{len(scores)} items, variance {scores.variance}, {scores.steps} evaluations per item"
    if out is not None:
        yield f"one row per item: {out}"


def _mean(values: Tensor) -> float:
    return float(values.mean())


def _error(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _write_csv(scores: BoundScores, path: Path) -> None:
    columns = {name: values.tolist() for name, values in scores.columns().items()}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item", *columns, "bits_per_dim"])
        for i, row in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([i, *map(repr, row), repr(scores.bits(row[-1]))])
