"""What decoding must be held against: what needs no brain, what needs no model, and a brain that saw something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pushforward.brain.ridge import PENALTIES, fit_ridge
from pushforward.brain.trials import Trials
from pushforward.metrics.similarity import cross_correlation
from pushforward.numerics.random import key, permutation

NEAREST = 10
_MOST = 1 << 26
"""Predicted numbers that are held at once."""


def training_mean(stimuli: np.ndarray, count: int) -> np.ndarray:
    """The mean of the training stimuli (n, …) for every one of `count` trials: what needs no voxels."""
    return np.broadcast_to(stimuli.mean(0), (count, *stimuli.shape[1:]))


def retrieved(ridge: np.ndarray, items: np.ndarray, nearest: int = NEAREST) -> np.ndarray:
    """The mean of the prior's own pictures (m, …) likest to what ridge says (n, …): what needs no model, only data.

    Of `nearest` = 1 the likest picture itself: what a model would give that had learned them by heart.
    """
    likest = np.argsort(-cross_correlation(ridge, items), axis=1, kind="stable")[:, :nearest]
    return items[likest].mean(1)


def permuted(trials: Trials, seed: int = 0) -> Trials:
    """The same trials with other stimuli: nothing of the pictures is in the voxels any more.

    Whole pictures are exchanged, so that repeats still agree with one another.
    """
    first, order = _exchanged(trials.groups, seed, 0)
    return replace(trials, what=f"{trials.what}, permuted", **trials.shown(first[order]))


def permuted_ridge(
    train: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    orders: int,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """What ridge says of test voxels (m, p) after training on `truth` (n, k) in other orders: (m, k), order by order.

    Orders share the decomposition of the voxels, as further targets.
    """
    k = truth.shape[1]
    together = max(1, _MOST // (len(penalties) * truth.size))
    for start in range(0, orders, together):
        numbers = range(start, min(start + together, orders))
        targets = []
        for number in numbers:
            first, order = _exchanged(groups, seed, number)
            targets.append(truth[first][order])
        said = fit_ridge(train, np.concatenate(targets, 1), groups, penalties=penalties)(test)
        yield from (said[:, i * k : (i + 1) * k] for i in range(len(numbers)))


def _exchanged(groups: np.ndarray, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first trial of each stimulus, and for every trial which of those it is now told to have shown."""
    first = np.unique(groups, return_index=True)[1]
    return first, permutation(key(seed, "permuted", number), len(first)).numpy()[groups]
