"""How good a synthetic table is: marginals, pairs, what can be learned from it, and whether rows are copies.

Numbers are cut into bins at quantiles of the training rows, so that numbers and categories are measured alike.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pushforward.errors import UserError
from pushforward.metrics.evaluation import Evaluation, Row
from pushforward.numerics.random import Draws, key, permutation

_BINS, _PAIR_BINS, _PAIRS = 20, 6, 400
LEAST = 20
"""Rows that a comparison needs of each kind."""


@dataclass(frozen=True)
class Kinds:
    """Which columns hold codes of categories: bool (D,), and their names."""

    coded: np.ndarray
    names: tuple[str, ...]


def binned(values: np.ndarray, train: np.ndarray, coded: np.ndarray, bins: int) -> np.ndarray:
    """Rows (N, D) as cells int64: codes as they are, numbers by quantiles of the training rows."""
    out = np.empty(values.shape, dtype=np.int64)
    for i in range(values.shape[1]):
        edges = np.unique(np.quantile(train[:, i], np.linspace(0, 1, bins + 1)[1:-1]))
        out[:, i] = values[:, i].astype(np.int64) if coded[i] else np.searchsorted(edges, values[:, i], side="right")
    return out


def total_variation(one: np.ndarray, other: np.ndarray) -> float:
    """½ Σ |p − q| of two columns of cells (N,), (M,)."""
    size = int(max(one.max(), other.max())) + 1
    p, q = (np.bincount(cells, minlength=size) / len(cells) for cells in (one, other))
    return 0.5 * float(np.abs(p - q).sum())


def marginal_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The mean over columns of the total variation of cells (N, D), (M, D)."""
    return statistics.fmean(total_variation(one[:, i], other[:, i]) for i in range(one.shape[1]))


def pair_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The mean over pairs of columns of the total variation of their joint cells."""
    pairs = list(itertools.combinations(range(one.shape[1]), 2))
    pairs = [pairs[i] for i in permutation(key(0, "pairs"), len(pairs))[:_PAIRS].tolist()]
    wide = int(max(one.max(), other.max())) + 1
    return statistics.fmean(
        total_variation(one[:, i] * wide + one[:, j], other[:, i] * wide + other[:, j]) for i, j in pairs
    )


def nearest_record(rows: np.ndarray, train: np.ndarray, coded: np.ndarray, chunk: int = 256) -> np.ndarray:
    """Gower's distance of rows (N, D) to the nearest training row: |difference|/range of numbers, 0 or 1 of codes."""
    spread = np.where(np.ptp(train, axis=0) > 0, np.ptp(train, axis=0), 1.0)
    found = []
    for part in np.split(rows, range(chunk, len(rows), chunk)):
        total = np.zeros((len(part), len(train)), dtype=np.float32)
        for i in range(rows.shape[1]):
            apart = part[:, i, None] - train[None, :, i]
            total += (apart != 0) if coded[i] else np.minimum(np.abs(apart) / spread[i], 1)
        found.append(total.min(1) / rows.shape[1])
    return np.concatenate(found)


def usefulness(train: np.ndarray, test: np.ndarray, target: int, coded: np.ndarray, seed: int = 0) -> float:
    """How well boosted trees learned from `train` predict a column of `test`: accuracy, or R² of a number."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    inputs = [i for i in range(train.shape[1]) if i != target]
    few = [int(max(train[:, i].max(), test[:, i].max())) < 255 for i in inputs]
    categories = [bool(coded[i]) and small for i, small in zip(inputs, few, strict=True)]
    kind = HistGradientBoostingClassifier if coded[target] else HistGradientBoostingRegressor
    if coded[target] and len(np.unique(train[:, target])) < 2:
        return float((test[:, target] == train[0, target]).mean())
    model = kind(
        max_iter=60,
        early_stopping=False,  # which large tables have by default, and which fails for a class of one row
        categorical_features=categories if any(categories) else None,
        random_state=seed,
    )
    return float(model.fit(train[:, inputs], train[:, target]).score(test[:, inputs], test[:, target]))


def independent(train: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Rows of independent columns, each drawn from the training rows: the marginals and nothing more."""
    draws = Draws.of(seed, range(n), "independent")
    index = np.stack([draws.at(i).integers(len(train)).numpy() for i in range(train.shape[1])], 1)
    return np.take_along_axis(train, index, 0)


def copied(train: np.ndarray, coded: np.ndarray, n: int, noise: float = 0.01, seed: int = 0) -> np.ndarray:
    """Training rows with a little noise on their numbers: what looks best and protects nobody."""
    draws = Draws.of(seed, range(n), "copied")
    rows = train[draws.at("row").integers(len(train)).numpy()].copy()
    kick = draws.at("noise").normal((train.shape[1],)).numpy() * noise * train.std(0)
    return np.where(coded, rows, rows + kick)


def target_of(coded: np.ndarray, labels: bool) -> int:
    """The column that is predicted: the last one (the label, where there is one), else the last category."""
    codes = np.flatnonzero(coded)
    return len(coded) - 1 if labels or not len(codes) else int(codes[-1])


def evaluate_table(
    samples: np.ndarray, train: np.ndarray, test: np.ndarray, kinds: Kinds, *, target: int | None = None, seed: int = 0
) -> Evaluation:
    """Score synthetic rows (N, D) against real ones, codes for categories; every number beside what real rows score.

    The control is a table of independent columns. One column alone has no pairs, and nothing to learn it from. Raises
    UserError for fewer than `LEAST` rows of a kind.
    """
    for name, given in (("generated", samples), ("training", train), ("test", test)):
        if len(given) < LEAST:
            raise UserError(
                f"there are {len(given)} {name} rows, and a comparison says nothing with fewer than {LEAST}"
            )
    coded = kinds.coded
    n = min(len(samples), len(train))
    ours, control = samples[:n], independent(train, n, seed)
    subsets = [train[permutation(key(seed, "floor", f), len(train))[: max(LEAST, n // 2)].numpy()] for f in range(4)]
    rows = [_distance("marginals", marginal_distance, _BINS, ours, train, test, control, subsets, coded)]
    if len(coded) > 1:
        target = target_of(coded, False) if target is None else target
        rows += [
            _distance("pairs", pair_distance, _PAIR_BINS, ours, train, test, control, subsets, coded),
            _useful(ours, train, test, control, coded, target, kinds.names),
        ]
    rows += _private(ours, train, test, control, coded)
    return Evaluation(tuple(rows), n, len(test), "cells of columns")


def _distance(
    name: str,
    distance: Callable[[np.ndarray, np.ndarray], float],
    bins: int,
    ours: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    control: np.ndarray,
    subsets: Sequence[np.ndarray],
    coded: np.ndarray,
) -> Row:
    wanted = binned(test, train, coded, bins)
    floors = [distance(binned(subset, train, coded, bins), wanted) for subset in subsets]
    what = "a column" if name == "marginals" else "a pair of columns"
    return Row(
        f"distance of {name}",
        distance(binned(ours, train, coded, bins), wanted),
        statistics.fmean(floors),
        f"share of rows that would have to change for {what} to agree with the test rows, on average",
        "low",
        len(ours),
        floor_sd=statistics.stdev(floors),
        control=distance(binned(control, train, coded, bins), wanted),
    )


def _useful(
    ours: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    control: np.ndarray,
    coded: np.ndarray,
    target: int,
    names: tuple[str, ...],
) -> Row:
    what = "share of test rows" if coded[target] else "share of the variance of test rows"
    return Row(
        "usefulness",
        usefulness(ours, test, target, coded),
        usefulness(train, test, target, coded),
        f"{what} whose {names[target]!r} is predicted by what was learned from synthetic rows; floor: from real ones",
        "high",
        len(ours),
        control=usefulness(control, test, target, coded),
    )


def _private(
    ours: np.ndarray, train: np.ndarray, test: np.ndarray, control: np.ndarray, coded: np.ndarray
) -> list[Row]:
    near, real, far = (nearest_record(rows, train, coded) for rows in (ours, test, control))
    bound = float(np.quantile(real, 0.05))
    distance = Row(
        "distance to the closest record",
        float(np.median(near)),
        float(np.median(real)),
        "Gower's distance of a synthetic row to the nearest training row, median; as far as unseen real rows is right",
        "high",
        len(ours),
        control=float(np.median(far)),
    )
    share = Row(
        "near copies",
        float((near < bound).mean() if bound > 0 else (near <= 0).mean()),
        float((real < bound).mean() if bound > 0 else (real <= 0).mean()),
        "share of synthetic rows nearer to a training row than all but 5 % of test rows are (or equal to one)",
        "low",
        len(ours),
    )
    return [distance, share]
