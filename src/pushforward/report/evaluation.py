"""A trained generator scored against held-out data, with what the scoring cost and what could not be measured."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.data.atomic import write_file
from pushforward.data.columns import Columns
from pushforward.data.dataset import Batch, Dataset, Split
from pushforward.data.tokens import END, Tokens, units_of
from pushforward.errors import UserError
from pushforward.metrics.evaluate import LEAST, evaluate_samples
from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.metrics.sequences import evaluate_texts
from pushforward.metrics.tables import Kinds, evaluate_table, target_of
from pushforward.models.denoising import sampled_denoiser
from pushforward.models.family import Family
from pushforward.models.generator import Generator
from pushforward.numerics.random import Draws, key, permutation
from pushforward.samplers.default import USUAL_EVALUATIONS
from pushforward.training.hooks import Validated
from pushforward.training.memory import peak_memory

_VALUES = 1 << 26
"""Numbers of one split held at a time: 512 MiB as float64."""


@dataclass(frozen=True)
class Missing:
    """What was not measured, and the reason as a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class Loss:
    """The mean training loss over the items of a split, and its standard error."""

    value: float
    error: float
    n: int


@dataclass(frozen=True)
class GeneratorEvaluation:
    """Scores beside their floors, and what making the samples cost.

    `scores` is None where nothing could be compared, and then `missing` says why. `seconds` and `evaluations` (calls of
    a denoiser's network, else None) are per sample, `memory` is the process's or GPU's peak in bytes; `losses` are by
    split. `n`, `steps`, `seed` and `guidance` give the same samples again.
    """

    n: int
    steps: int | None
    seed: int
    guidance: float
    scores: Evaluation | None
    missing: tuple[Missing, ...]
    losses: Mapping[str, Loss]
    seconds: float
    evaluations: float | None
    memory: int | None

    def __iter__(self) -> Iterator[Row]:
        return iter(self.scores or ())

    def __getitem__(self, name: str) -> Row:
        """The row of that name, or whose name begins with it. Raises KeyError."""
        if self.scores is None:
            raise KeyError(name)
        return self.scores[name]

    @property
    def reached(self) -> bool | None:
        """Whether every target is reached; None where there is none."""
        aimed = [row.reached for row in self if row.target is not None]
        return all(aimed) if aimed else None

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON-able values."""
        scores = None if self.scores is None else self.scores.to_dict()
        return {**asdict(self), "scores": scores, "reached": self.reached}

    @staticmethod
    def of_dict(stored: Mapping[str, Any]) -> GeneratorEvaluation:
        """What `to_dict` gave. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        values = {field.name: stored[field.name] for field in fields(GeneratorEvaluation)}
        values["missing"] = tuple(Missing(**entry) for entry in stored["missing"])
        values["losses"] = {name: Loss(**entry) for name, entry in stored["losses"].items()}
        values["scores"] = None if stored["scores"] is None else _scores(stored["scores"])
        return GeneratorEvaluation(**values)

    def save(self, path: Path | str) -> Path:
        """Write it as JSON, atomically."""
        text = json.dumps(_plain(self.to_dict()), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_file(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return Path(path)


def _plain(value: Any) -> Any:
    """The same with null for numbers that are not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_evaluation(path: Path | str) -> GeneratorEvaluation:
    """What `save` wrote. Raises UserError where there is no such file or it holds something else."""
    try:
        return GeneratorEvaluation.of_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}): evaluate the run first") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path} is not an evaluation written by this library: evaluate the run again") from None


def _scores(stored: Mapping[str, Any]) -> Evaluation:
    rows = tuple(Row(**{k: v for k, v in row.items() if k != "reached"}) for row in stored["rows"])
    return Evaluation(rows, stored["n"], stored["n_test"], stored["features"])


def evaluate_generator(
    generator: Generator,
    data: Dataset,
    *,
    n: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    guidance: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> GeneratorEvaluation:
    """Sample in the user's own form and score against the data's test split; deterministic in `seed` but for times.

    Samples of a conditional model are made for labels in the proportions of the training split. `n` defaults to half of
    the training split, between 100 and 1000: the most that floors can be measured at. What cannot be computed (too few
    items, no labels) is listed in `missing`. `progress` is called with (samples made, n).
    """
    n = min(1000, max(100, len(data.train) // 2)) if n is None else n
    labels = training_labels(generator, data.train, n, seed)
    moved = sampled_denoiser(generator)
    network = None if moved is None else moved.model.network
    if steps is None and network is not None:
        steps = USUAL_EVALUATIONS
    with EvaluationCounter(network or nn.Identity()) as counter:
        started = time.perf_counter()
        samples = generator.sample(n, steps=steps, seed=seed, label=labels, guidance=guidance, progress=progress)
        seconds = (time.perf_counter() - started) / n
    scores, missing = _score(samples.values, samples.labels, data, seed)
    return GeneratorEvaluation(
        n,
        steps,
        seed,
        guidance,
        scores,
        missing,
        {name: _loss(generator, split, seed) for name, split in _splits(data).items() if len(split)},
        seconds,
        None if network is None else counter.items / n,
        peak_memory(generator.model.device),
    )


def training_labels(generator: Generator, train: Split, n: int, seed: int) -> list[str] | None:
    """Names of n labels in the proportions of the training split; None for a model without labels."""
    names = generator.format.label_names
    if not generator.model.num_classes or train.labels is None or names is None:
        return None
    order = permutation(key(seed, "evaluation labels"), len(train)).numpy()
    return [names[i] for i in train.labels[np.resize(order, n)]]


def some_values(split: Split, most: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and labels of a random part of a split that fits in memory, at most `most` items."""
    room = max(LEAST, _VALUES // max(1, int(np.prod(split.format.item_shape))))
    count = min(len(split), room, most or len(split))
    rows = np.arange(len(split)) if count == len(split) else _some_rows(len(split), count)
    return np.asarray(split.values[rows]), None if split.labels is None else split.labels[rows]


def _some_rows(length: int, count: int) -> np.ndarray:
    return np.sort(permutation(key(0, "some values"), length)[:count].numpy())


def _splits(data: Dataset) -> dict[str, Split]:
    return {"train": data.train, "validation": data.validation, "test": data.test}


def _score(
    values: np.ndarray, labels: np.ndarray | None, data: Dataset, seed: int
) -> tuple[Evaluation | None, tuple[Missing, ...]]:
    missing = []
    for name, count in (("training", len(data.train)), ("test", len(data.test)), ("generated", len(values))):
        if count < LEAST:
            reason = f"there are {count} {name} items, and a comparison says nothing with fewer than {LEAST}"
            missing.append(Missing("distances, neighbours, copies and labels", reason))
    if missing:
        return None, tuple(missing)
    if isinstance(data.format.coding, Tokens):
        return _score_texts(values, data, data.format.coding, seed)
    train, train_labels = some_values(data.train)
    test, test_labels = some_values(data.test)
    coding = data.format.coding
    try:
        if isinstance(coding, Columns) and coding.coded:
            return _score_table(values, labels, train, train_labels, test, test_labels, coding, seed), ()
        scores = evaluate_samples(values, labels, train, test, train_labels, test_labels, seed=seed)
    except UserError as error:
        return None, (Missing("distances, neighbours, copies and labels", str(error)),)
    return scores, tuple(_unlabelled(train_labels, labels))


def _score_table(
    values: np.ndarray,
    labels: np.ndarray | None,
    train: np.ndarray,
    train_labels: np.ndarray | None,
    test: np.ndarray,
    test_labels: np.ndarray | None,
    coding: Columns,
    seed: int,
) -> Evaluation:
    """Rows of numbers and codes that vary, their labels as a last column where they have some."""
    vary = coding.varying
    labelled = labels is not None and train_labels is not None and test_labels is not None
    coded = np.isin(vary, coding.coded)
    names = tuple(coding.names[i] if coding.names else str(i) for i in vary)
    tables = [table[:, vary] for table in (values, train, test)]
    if labelled:
        tables = [
            np.column_stack((x, np.asarray(y)))
            for x, y in zip(tables, (labels, train_labels, test_labels), strict=True)
        ]
        coded, names = np.append(coded, True), (*names, "label")
    made, real, held = (np.asarray(table, dtype=np.float64) for table in tables)
    return evaluate_table(made, real, held, Kinds(coded, names), target=target_of(coded, labelled), seed=seed)


def _score_texts(
    values: np.ndarray, data: Dataset, coding: Tokens, seed: int
) -> tuple[Evaluation | None, tuple[Missing, ...]]:
    """Generated, training and test texts compared as units, each up to its end.

    A generated text is cut anew, so it may have units that no training text has: bytes that are no text are shown as
    "�", and tokens side by side may be one other token.
    """
    made = [units_of(str(text), coding.unit, coding.tokenizer) for text in values]
    train, test = ([row[row != END] for row in some_values(split, 2000)[0]] for split in (data.train, data.test))
    return evaluate_texts(made, train, test, seed), ()


def _unlabelled(train_labels: np.ndarray | None, labels: np.ndarray | None) -> Iterator[Missing]:
    if train_labels is None:
        yield Missing("label accuracy", "the data have no labels")
    elif len(np.unique(train_labels)) < 2:
        yield Missing("label accuracy", "the training items have a single label, so there is nothing to tell apart")
    elif labels is None:
        yield Missing("label accuracy", "the model was trained without labels; the balance of classes is given instead")


@torch.no_grad()
def _loss(generator: Generator, split: Split, seed: int, most: int = 512, batch: int = 128) -> Loss:
    """The training loss at counted times and noises; every split meets the same ones, so they can be compared."""
    generator.model.eval()
    count = min(len(split), most)
    rows = np.arange(len(split)) if count == len(split) else _some_rows(len(split), count)
    # Few items are met several times each: the loss varies far more over times and noises than over items.
    rows = np.resize(rows, max(count, min(most, 8 * count)))
    draws = Draws.of(seed, range(len(rows)), "evaluation loss", generator.model.device)
    objective = next(iter(generator.model.objectives()))
    parts: list[Tensor] = []
    for start in range(0, len(rows), batch):
        at = slice(start, start + batch)
        items = split.batch(rows[at]).to(generator.model.device)
        parts.append(_validation(generator.model, objective, items, draws[at]).double().cpu())
    losses = torch.cat(parts).tolist()
    error = statistics.stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else 0.0
    return Loss(statistics.fmean(losses), error, count)


def _validation(model: Family, objective: str, items: Batch, draws: Draws) -> Tensor:
    """The loss that tells progress: the model's own of validation, where the training loss does not."""
    return model.validation_loss(items, draws) if isinstance(model, Validated) else model.loss(objective, items, draws)


class EvaluationCounter:
    """Counts the items that a network is called with."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.items = network, 0

    def __enter__(self) -> EvaluationCounter:
        self.handle = self.network.register_forward_pre_hook(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.items += len(inputs[0])
