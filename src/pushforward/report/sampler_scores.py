"""Samplers against one another on one model, from the same starts and labels: quality, evaluations, time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from pushforward.data.dataset import Dataset
from pushforward.errors import UserError
from pushforward.metrics.classifier import Classifier
from pushforward.metrics.distances import frechet_distance
from pushforward.metrics.evaluate import LEAST
from pushforward.metrics.features import FeatureSpace, default_features
from pushforward.metrics.kernel import kernel_mmd2
from pushforward.models.denoising import as_sampled
from pushforward.models.generator import Generator
from pushforward.numerics.random import key, permutation
from pushforward.report.evaluation import EvaluationCounter, some_values, training_labels
from pushforward.samplers.default import Sampling

_FLOORS = 8
Choice = Callable[[int], Sampling]
"""A number of evaluations -> the sampler for it. Raises UserError where it cannot do with so few."""


@dataclass(frozen=True)
class Quality:
    """Fréchet distance and kernel MMD² to the test items, and the share recognised as the label asked for, if any."""

    frechet: float
    mmd: float
    accuracy: float | None


@dataclass(frozen=True)
class Scored:
    """What a sampler made with a budget of `asked` evaluations: what it spent per sample, in calls and seconds.

    `processor` is the time of all processors together, steadier than `seconds` where the machine is shared.
    """

    name: str
    asked: int
    evaluations: float
    seconds: float
    processor: float
    quality: Quality


@dataclass(frozen=True)
class Comparison:
    """Samplers on one model; `floor` is what as many real items score. Lower is better, but for the accuracy."""

    rows: tuple[Scored, ...]
    floor: Quality
    n: int
    n_test: int
    features: str
    refused: Mapping[str, str]

    def of(self, name: str) -> list[Scored]:
        """The rows of one sampler, from few evaluations to many."""
        return sorted((row for row in self.rows if row.name == name), key=lambda row: row.evaluations)

    def ratio(self, row: Scored) -> float:
        """The Fréchet distance in units of its floor."""
        return row.quality.frechet / self.floor.frechet

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(row.name for row in self.rows))

    def best(self, asked: int) -> Scored:
        """The row with the least Fréchet distance among those of a budget. Raises ValueError where there is none."""
        return min((row for row in self.rows if row.asked == asked), key=self.ratio)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(replace(self, refused=dict(self.refused)))


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores samples of one data set, `n` at a time, against its test split; deterministic."""

    space: FeatureSpace
    test: Tensor
    classifier: Classifier | None
    floor: Quality
    n: int

    @staticmethod
    def of(data: Dataset, n: int, seed: int = 0) -> Judge:
        """For at most n samples. Raises UserError where there are too few items to compare with."""
        (train, labels), (test, known) = some_values(data.train), some_values(data.test)
        n = min(n, len(train) // 2)
        if n < LEAST or len(test) < LEAST:
            raise UserError(
                f"samplers are compared on at least {LEAST} samples, as many test items and twice as many training "
                f"items; there are {len(train)} training items and {len(test)} test items"
            )
        space = default_features(train)
        classifier = None
        if labels is not None and len(np.unique(labels)) > 1:
            classifier = Classifier.fit(train, labels)
        there = space(test)
        subsets = [train[permutation(key(seed, "floor", i), len(train))[:n].numpy()] for i in range(_FLOORS)]
        accuracy = classifier.accuracy(test, known) if classifier and known is not None else None
        made = [_distances(space(subset), there) for subset in subsets]
        frechet, mmd = (statistics.fmean(column) for column in zip(*made, strict=True))
        floor = Quality(frechet, mmd, accuracy)
        return Judge(space, there, classifier, floor, n)

    def score(self, values: np.ndarray, labels: np.ndarray | None) -> Quality:
        """The quality of n samples in the user's own form, made for these labels."""
        accuracy = None if self.classifier is None or labels is None else self.classifier.accuracy(values, labels)
        return Quality(*_distances(self.space(values), self.test), accuracy)


def _distances(made: Tensor, test: Tensor) -> tuple[float, float]:
    return frechet_distance(made, test), kernel_mmd2(made, test, repeats=2).value


def compare_samplers(
    generator: Generator,
    data: Dataset,
    choices: Mapping[str, Choice],
    budgets: Sequence[int],
    *,
    n: int = 300,
    seed: int = 0,
    tell: Callable[[int, int], None] | None = None,
    adaptive: Sequence[str] = (),
) -> Comparison:
    """Run every sampler with every budget of evaluations on the same n starts and labels.

    `adaptive` names those that take no notice of a budget and run once. `tell` is called with (runs done, all runs).
    What a sampler refuses is in `refused`. Raises UserError where there are too few items to compare with, and for
    models that draw at once.
    """
    network = as_sampled(generator, "a comparison of samplers").model.network
    judge = Judge.of(data, n, seed)
    labels = training_labels(generator, data.train, judge.n, seed)
    runs = [(name, budget) for name in choices for budget in (budgets[-1:] if name in adaptive else budgets)]
    rows, refused = [], {}
    for done, (name, budget) in enumerate(runs, 1):
        try:
            sampler = choices[name](budget)
            with EvaluationCounter(network) as counter:
                started, worked = time.perf_counter(), time.process_time()
                made = generator.sample(judge.n, steps=budget, seed=seed, label=labels, sampler=sampler)
                seconds, processor = time.perf_counter() - started, time.process_time() - worked
        except UserError as error:
            refused[f"{name}, {budget} evaluations"] = str(error)
        else:
            quality = judge.score(made.values, made.labels)
            spent, took, work = (part / judge.n for part in (counter.items, seconds, processor))
            rows.append(Scored(name, budget, spent, took, work, quality))
        if tell:
            tell(done, len(runs))
    return Comparison(tuple(rows), judge.floor, judge.n, len(judge.test), judge.space.name, refused)
