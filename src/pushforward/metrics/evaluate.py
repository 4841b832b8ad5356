"""Samples scored against held-out data, each number beside its floor: what real data score in the same measurement.

The floor of a metric is the same function at the same sizes, with a random subset of the training split in place of the
samples: n real items against the same test items, where n is at most half of the training split so that subsets differ.
It is averaged over several subsets. A metric that is biased at n items (the Fréchet distance most of all) is then
biased alike on both sides, and a value equal to its floor cannot be told from real data.

Standard deviations: of the kernel MMD² by a weighted bootstrap; of the others by half-sampling, the bootstrap that
draws half of each set without replacement, whose spread about the whole is that of the whole (Politis & Romano 1994);
it makes no copies of an item, which would spoil nearest neighbours.

The control is a Gaussian with the mean and covariance of the training features, in place of the samples: a number near
its control says that this metric alone cannot tell the samples from a fit without any structure.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pushforward.errors import UserError
from pushforward.metrics.checks import Samples, labels_of, matrix
from pushforward.metrics.classifier import Classifier
from pushforward.metrics.distances import covariance, energy_distance, frechet_distance, root, sliced_wasserstein
from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.metrics.features import FeatureSpace, default_features, own_units
from pushforward.metrics.kernel import kernel_mmd2
from pushforward.metrics.neighbours import density_coverage, near_copies, precision_recall
from pushforward.numerics.random import key, normal, permutation

LEAST = 20
"""The fewest samples and test items for which the numbers say anything."""

_NEIGHBOURS = 5
_COPIES = 0.10
"""The most samples that may be nearer to training items than the nearest 5 % of test items are."""

Labels = ArrayLike | Tensor | None
Statistic = Callable[[Tensor, Tensor], float]


def _half(x: Tensor, *parts: int | str) -> Tensor:
    return x[permutation(key(*parts), len(x))[: len(x) // 2]]


def _half_sampling_sd(statistic: Statistic, x: Tensor, y: Tensor, seed: int, repeats: int = 16) -> float:
    """Standard deviation of `statistic(x, y)` from random halves of both sets."""
    return statistics.stdev(
        statistic(_half(x, seed, "half", "x", r), _half(y, seed, "half", "y", r)) for r in range(repeats)
    )


def _gaussian_like(x: Tensor, count: int, seed: int) -> Tensor:
    """Draws (count, F) of the Gaussian with the mean and covariance of x (N, F)."""
    base = torch.tensor([key(seed, "control")])
    return x.mean(0) + normal(base, (count, x.shape[1]), torch.float64)[0] @ root(covariance(x))


@dataclass(frozen=True)
class _Comparison:
    """The sets in feature space, and the same measurement made on samples and on real subsets of the same size."""

    samples: Tensor
    subsets: list[Tensor]
    test: Tensor
    control: Tensor
    seed: int

    def measure(self, name: str, statistic: Statistic, good: Literal["low", "high"], meaning: str) -> Row:
        floors = [statistic(subset, self.test) for subset in self.subsets]
        return Row(
            name,
            statistic(self.samples, self.test),
            statistics.fmean(floors),
            meaning,
            good,
            len(self.samples),
            _half_sampling_sd(statistic, self.samples, self.test, self.seed),
            statistics.stdev(floors),
            statistic(self.control, self.test),
        )


def _distance_rows(c: _Comparison, space: str) -> list[Row]:
    frechet = c.measure(
        f"FD[{space}]", frechet_distance, "low", "distance between the means and covariances of samples and test data"
    )
    value, sd = kernel_mmd2(c.samples, c.test, seed=c.seed)
    floors = [kernel_mmd2(subset, c.test, repeats=2).value for subset in c.subsets]
    floor = statistics.fmean(floors)
    mmd = Row(
        f"MMD²[{space}]",
        value,
        floor,
        "difference of all moments up to the third, unbiased, about 0 for samples like the data",
        "low",
        len(c.samples),
        sd,
        statistics.stdev(floors),
        kernel_mmd2(c.control, c.test, repeats=2).value,
        target=floor + 3 * sd,
    )
    return [
        replace(frechet, target=3 * frechet.floor),
        mmd,
        c.measure(
            f"SW₂[{space}]", sliced_wasserstein, "low", "mean distance of the histograms along random directions"
        ),
        c.measure(
            f"energy[{space}]",
            energy_distance,
            "low",
            "how much farther samples are from test data than each from its own kind",
        ),
    ]


def _neighbour_rows(c: _Comparison, space: str) -> list[Row]:
    def pick(function: Callable[..., tuple[float, float]], i: int) -> Statistic:
        return lambda x, y: function(x, y, k=_NEIGHBOURS)[i]

    return [
        c.measure(
            f"precision[{space}]", pick(precision_recall, 0), "high", "share of samples that look like test data"
        ),
        c.measure(
            f"recall[{space}]", pick(precision_recall, 1), "high", "share of test data that the samples' variety covers"
        ),
        c.measure(
            f"density[{space}]", pick(density_coverage, 0), "high", "how deep inside the test data the samples lie"
        ),
        c.measure(
            f"coverage[{space}]", pick(density_coverage, 1), "high", "share of test items with a sample close by"
        ),
    ]


def _copies_row(samples: Tensor, train: Tensor, test: Tensor, space: str) -> Row:
    share, floor = near_copies(samples, train, test), near_copies(test, train, test)
    return Row(
        f"near copies[{space}]",
        share,
        floor,
        "share of samples nearer to a training item than all but the nearest 5 % of test items are",
        "low",
        len(samples),
        (share * (1 - share) / len(samples)) ** 0.5,
        target=_COPIES if floor <= _COPIES else min(1.0, 2 * floor),  # the latter where the data repeat their own items
    )


def _share(right: NDArray[np.bool_]) -> tuple[float, float]:
    """A share and its binomial standard deviation."""
    share = float(right.mean())
    return share, (share * (1 - share) / len(right)) ** 0.5


def _label_row(
    judge: Classifier, samples: Tensor, labels: NDArray[np.int64], test: Tensor, known: NDArray[np.int64]
) -> Row:
    value, sd = _share(judge.predict(samples) == labels)
    floor, floor_sd = _share(judge.predict(test) == known)
    return Row(
        "label accuracy[svc]",
        value,
        floor,
        "share of samples that an independent classifier reads as the label they were made for; floor: real test items",
        "high",
        len(samples),
        sd,
        floor_sd,
        1 / len(judge.machine.classes_),
        target=floor - 0.03,
    )


def _frequencies(labels: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    return (labels[:, None] == classes).mean(0)


def _balance_row(judge: Classifier, samples: Tensor, test: Tensor, train_labels: NDArray[np.int64]) -> Row:
    classes = np.unique(train_labels)
    real = _frequencies(train_labels, classes)
    distance = [0.5 * float(np.abs(_frequencies(judge.predict(x), classes) - real).sum()) for x in (samples, test)]
    return Row(
        "label imbalance[svc]",
        distance[0],
        distance[1],
        "share of samples that would have to change class to match the classes' frequencies in the training data",
        "low",
        len(samples),
    )


def _label_rows(
    samples: Tensor, sample_labels: Labels, train: Tensor, test: Tensor, train_labels: Labels, test_labels: Labels
) -> list[Row]:
    if train_labels is None:
        return []
    known = labels_of(train_labels, len(train), "training")
    if len(np.unique(known)) < 2:
        return []
    judge = Classifier.fit(train, known)
    if sample_labels is None or test_labels is None:
        return [_balance_row(judge, samples, test, known)]
    made_for = labels_of(sample_labels, len(samples), "sample")
    return [_label_row(judge, samples, made_for, test, labels_of(test_labels, len(test), "test"))]


def evaluate_samples(
    samples: Samples,
    sample_labels: Labels,
    train: Samples,
    test: Samples,
    train_labels: Labels = None,
    test_labels: Labels = None,
    *,
    features: FeatureSpace | None = None,
    seed: int = 0,
    limit: int = 2000,
    floors: int = 8,
) -> Evaluation:
    """Score samples (N, …) in the user's own form against train and test items; deterministic in `seed`.

    Distances and neighbour metrics use n = min(N, half of the items of train, `limit`) samples, and as many items in
    each of the `floors` subsets of train, against the same min(items of test, `limit`) test items. Labels give the
    accuracy of an independent classifier or, where the samples have none, the balance of the classes.
    Raises UserError for too few items, NaN, or unlike shapes.
    """
    space = default_features(train) if features is None else features
    rows = [
        matrix(x, name, least=LEAST)
        for x, name in ((samples, "samples"), (train, "training items"), (test, "test items"))
    ]
    if len({r.shape[1] for r in rows}) > 1:
        shapes = ", ".join(str(tuple(x.shape)) for x in (samples, train, test))
        raise UserError(f"Samples, training and test items must be of one kind, but have the shapes {shapes}.")
    units = own_units(train)
    own = [units(x) for x in rows]
    n, m = min(len(rows[0]), len(rows[1]) // 2, limit), min(len(rows[2]), limit)

    def subset(x: Tensor, size: int, *parts: int | str) -> Tensor:
        return space(x[permutation(key(seed, *parts), len(x))[:size]])

    comparison = _Comparison(
        subset(rows[0], n, "samples"),
        [subset(rows[1], n, "floor", f) for f in range(max(2, floors))],
        subset(rows[2], m, "test"),
        _gaussian_like(space(rows[1]), n, seed),
        seed,
    )
    found = [
        *_distance_rows(comparison, space.name),
        *_neighbour_rows(comparison, space.name),
        _copies_row(own[0], own[1], own[2], units.name),
        *_label_rows(own[0], sample_labels, own[1], own[2], train_labels, test_labels),
    ]
    return Evaluation(tuple(found), n, m, space.name)
