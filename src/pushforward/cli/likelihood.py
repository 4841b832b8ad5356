"""`pushforward likelihood`: log p of data under a run, per item, with error bars."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pushforward.cli.bar import Bar
from pushforward.cli.options import SOURCE, Device, Folder, Which
from pushforward.cli.output import DEFAULT, Common
from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.models.scoring import Scores


def likelihood(
    run: Folder,
    /,
    *,
    data: Annotated[str, Parameter(help=SOURCE)] = "test",
    number: Annotated[int | None, Parameter(name=("-n", "--number"), help="the first so many items [all]")] = None,
    evaluations: Annotated[int | None, Parameter(help="of a denoiser's network per item [100]")] = None,
    hutchinson: Annotated[
        int | None, Parameter(help="random probes per item [exact up to 32 numbers per item]")
    ] = None,
    repeats: Annotated[
        int | None,
        Parameter(help="random places within the cells of whole numbers [4]; numbers of hidden symbols [16]"),
    ] = None,
    block: Annotated[int | None, Parameter(help="of texts: symbols decoded at once, left to right [all]")] = None,
    label: Annotated[str | None, Parameter(help="log p(x given this class) [log p(x)]")] = None,
    own_labels: Annotated[
        bool, Parameter(negative=(), show_default=False, help="log p(x given the item's own class)")
    ] = False,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="one row per item: .csv or .npz")] = None,
    seed: Annotated[int, Parameter(help="of the probes and cells")] = 0,
    which: Which = "best",
    device: Device = None,
    batch_size: Annotated[int, Parameter(help="items computed at once")] = 256,
    common: Common = DEFAULT,
) -> None:
    """Score data under a run: log-likelihood in nats and bits per dimension, exact for diffusion models and flows."""
    from pushforward import api

    if out is not None and out.suffix.lower() not in (".csv", ".npz"):
        raise UserError(f"the scores are written as .csv or .npz; got {out}")
    found = common.opened(api.load(run, which=which, device=device))
    with Bar(common, "scoring", number) as bar:
        scores = api.likelihood(
            found,
            data,
            number=number,
            label=label,
            own_labels=own_labels,
            evaluations=evaluations,
            probes=hutchinson,
            repeats=repeats,
            block=block,
            seed=seed,
            batch_size=batch_size,
            progress=bar,
        )
    if out is not None:
        _write(scores, out)
    values = {"data": data, "out": out, "checkpoint": found.checkpoint.path, "weights": found.weights}
    common.result(_values(scores) | values, *_lines(scores, out))


def _values(scores: Scores) -> dict[str, Any]:
    of_images = scores.bits_per_dim is not None
    return {
        "number": len(scores),
        "nats": {"mean": scores.mean, "standard_error": scores.error},
        "bits_per_dim": scores.bits(scores.mean) if of_images else None,
        "bits_per_dim_standard_error": abs(scores.bits(scores.error)) if of_images else None,
        "baselines": {"gaussian": scores.gaussian, "uniform": scores.uniform},
        "baseline": scores.baseline,
        "unit": scores.unit,
        "dimensions": scores.dim,
        "evaluations": scores.evaluations,
        "method": scores.method,
        "density": scores.density,
    }


def _lines(scores: Scores, out: Path | None) -> Iterator[str]:
    of_images = scores.bits_per_dim is not None
    yield f"{'':<34}{'nats per item':>22}" + (f"{f'bits per {scores.unit}':>24}" if of_images else "")
    rows = (
        (f"the model, {len(scores)} items", scores.mean, scores.error),
        (scores.baseline, scores.gaussian, math.nan),
        ("uniform on the data's range", scores.uniform, math.nan),
    )
    for name, nats, error in rows:
        bits = _with_error(scores.bits(nats), abs(scores.bits(error)), ".4f") if of_images else ""
        yield f"{name:<34}{_with_error(nats, error, '.3f'):>22}{bits:>24}".rstrip()
    yield f"{scores.method}, {scores.evaluations} evaluations per item; density of {scores.density}"
    if out is not None:
        yield f"one row per item: {out}"


def _with_error(value: float, error: float, form: str) -> str:
    return f"{value:{form}}" + (f" ± {error:.2g}" if math.isfinite(error) else "")


def _write(scores: Scores, path: Path) -> None:
    from pushforward.data.atomic import write_file

    write_file(path, partial(_write_csv if path.suffix.lower() == ".csv" else _write_npz, scores))


def _columns(scores: Scores) -> dict[str, list[float]]:
    columns = {"nats": scores.nats.tolist(), "standard_error": scores.standard_error.tolist()}
    return columns if scores.bits_per_dim is None else {**columns, "bits_per_dim": scores.bits_per_dim.tolist()}


def _write_csv(scores: Scores, path: Path) -> None:
    columns = _columns(scores)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item", *columns])
        cells = zip(
            *([repr(v) if math.isfinite(v) else "" for v in column] for column in columns.values()), strict=True
        )
        writer.writerows([i, *row] for i, row in enumerate(cells))


def _write_npz(scores: Scores, path: Path) -> None:
    import numpy as np

    arrays: dict[str, Any] = {name: np.array(column) for name, column in _columns(scores).items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
