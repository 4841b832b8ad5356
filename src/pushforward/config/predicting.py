"""Predictions of a run for the rows of a table, as a table."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pushforward.config.run import Run
from pushforward.config.samplers import build_sampler, named
from pushforward.config.tempering import tempered
from pushforward.data.atomic import write_file
from pushforward.data.checks import unused
from pushforward.data.frame_files import read_frame
from pushforward.data.frames import Frame
from pushforward.data.parquet import pyarrow_parquet
from pushforward.errors import UserError
from pushforward.models.predictor import SAMPLES, Classified, Prediction, Predictor

if TYPE_CHECKING:
    from pushforward.models.family import Denoising

_DIGITS = 12
"""In texts: a response may vary in the last of many, as times in seconds do."""
WRITTEN = (".csv", ".tsv", ".parquet", ".npz")


@dataclass(frozen=True, eq=False)
class Predicted:
    """Columns by name, one value per row of the table, and the draws (N, S, R) where they were asked for."""

    columns: Mapping[str, np.ndarray]
    law: Prediction | Classified = field(repr=False)

    def __len__(self) -> int:
        return len(self.law)

    def save(self, path: Path) -> Path:
        """Write .csv, .tsv, .parquet, or .npz, which holds the draws too; atomically."""
        check_written(path)
        write_file(path, partial(_WRITERS[path.suffix.lower()], self))
        return path


def check_written(path: Path) -> None:
    """Raise UserError for a name under which predictions cannot be written."""
    if path.suffix.lower() not in WRITTEN:
        raise UserError(f"predictions are written as {', '.join(WRITTEN)}; got {path}")
    if path.suffix.lower() == ".parquet":
        pyarrow_parquet()


def predictor_of(run: Run) -> Predictor:
    """The run's predictor, of classes with its temperature. Raises UserError for a run that makes items instead."""
    if not isinstance(run.generator, Predictor):
        raise UserError(
            f"{run.path} holds a {run.config.model.family} model, which makes items and predicts nothing: train "
            "one with `train table.csv --target COLUMN --family card`"
        )
    return tempered(run, run.generator)


def predict(
    run: Run,
    source: str | Path | Frame,
    *,
    samples: int = SAMPLES,
    levels: Sequence[float] | None = None,
    keep: bool = False,
    evaluations: int = 20,
    sampler: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Predicted:
    """Predict the response of the rows of a table; its own response, if it has one, is not looked at.

    Args:
        samples: draws of each row. keep: give them too.
        levels: of the quantiles, `QUANTILES` where none are given.
        evaluations: of the network per draw. sampler: another than the usual, by its name.

    Raises:
        UserError: columns that are missing, unknown categories, missing values, no rows, counts below 1.
    """
    predictor = predictor_of(run)
    pairing = predictor.pairing
    # the response may be what is missing
    frame = source if isinstance(source, Frame) else read_frame(source, None, pairing.texts, pairing.names_used)
    if predictor.card.classify and levels is not None:
        raise UserError("this run predicts classes, which have probabilities and no quantiles: leave them out")
    x = pairing.encode_features(pairing.raw_features(frame.without(pairing.targets)))
    how: dict[str, Any] = {"seed": seed, "evaluations": evaluations, "progress": progress}
    if sampler is not None:
        model = cast("Denoising", predictor.card)  # of it a sampler asks the path, the prediction and the variance
        if named(sampler).lacks_variance(model):
            predictor = _with_variance(run, predictor)
        how["sampler"] = build_sampler(sampler, model, evaluations, predictor.variance)
    if predictor.card.classify:
        law = predictor.classify(x, samples=samples, keep=keep, **how)
        return Predicted(_class_columns(predictor, law), law)
    numbers = predictor.predict(x, samples=samples, levels=levels, keep=keep, **how)
    return Predicted(numbers.columns(predictor.pairing.targets), numbers)


def _with_variance(run: Run, predictor: Predictor) -> Predictor:
    data = run.data()
    train, validation = predictor.card.prepare(data.train, data.validation)
    held = (validation if len(validation) else train).values  # f of them by the parts that have not seen them
    y, f, x = held.split((predictor.card.outputs, predictor.card.outputs, predictor.card.inputs), 1)
    return predictor.with_variance(x, y, f)


def _class_columns(predictor: Predictor, law: Classified) -> dict[str, np.ndarray]:
    classes, target = predictor.pairing.classes, predictor.pairing.targets[0]
    assert classes is not None
    out = {target: classes.decode(law.probabilities.argmax(1))}
    told = {f"p_{name}": law.probabilities[:, k] for k, name in enumerate(classes.names)}
    for name, column in (*told.items(), ("width", law.width), ("p_value", law.p_values)):
        out[unused(name, out)] = column
    return out


def _write_text(predicted: Predicted, path: Path, delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(predicted.columns)
        writer.writerows(_cells(predicted))


def _cells(predicted: Predicted) -> Iterator[list[str]]:
    texts = [
        [f"{value:.{_DIGITS}g}" for value in column.tolist()]
        if column.dtype.kind == "f"
        else column.astype(str).tolist()
        for column in predicted.columns.values()
    ]
    return map(list, zip(*texts, strict=True))


def _write_parquet(predicted: Predicted, path: Path) -> None:
    parquet = pyarrow_parquet()
    import pyarrow

    plain = {n: c.tolist() if c.dtype.kind in "OU" else c for n, c in predicted.columns.items()}
    parquet.write_table(pyarrow.table(plain), path)


def _write_npz(predicted: Predicted, path: Path) -> None:
    arrays = {name: c.astype(np.str_) if c.dtype.kind == "O" else c for name, c in predicted.columns.items()}
    if predicted.law.samples is not None:
        arrays[unused("draws", arrays)] = predicted.law.samples
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # np.savez takes no column of the name `file`
        for name, column in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, column, allow_pickle=False)


_WRITERS: dict[str, Callable[[Predicted, Path], None]] = {
    ".csv": partial(_write_text, delimiter=","),
    ".tsv": partial(_write_text, delimiter="\t"),
    ".parquet": _write_parquet,
    ".npz": _write_npz,
}
