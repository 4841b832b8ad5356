"""How far the certainty of a classifier can be trusted: calibration of probabilities, and tests of single decisions.

Probabilities are (N, K), classes int (N,); per-sample probabilities or values are (N, S, K).
"""

from __future__ import annotations

import numpy as np

from pushforward.errors import UserError


def _check(probabilities: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, k = np.asarray(probabilities, np.float64), np.asarray(classes)
    if p.ndim != 2 or k.shape != p.shape[:1] or not len(p):
        raise UserError(f"probabilities are (N, classes) for N items; got {p.shape} for classes of shape {k.shape}")
    if not (np.isfinite(p).all() and (p >= 0).all()):
        raise UserError("probabilities must be finite and not negative")
    if k.min() < 0 or k.max() >= p.shape[1]:
        raise UserError(f"classes must lie in 0 … {p.shape[1] - 1}; got {k.min()} … {k.max()}")
    return p, k.astype(np.int64)


def accuracy(probabilities: np.ndarray, classes: np.ndarray) -> float:
    """The share of items whose most probable class is the true one."""
    p, k = _check(probabilities, classes)
    return float(np.mean(p.argmax(1) == k))


def class_nll(probabilities: np.ndarray, classes: np.ndarray, least: float = 1e-12) -> float:
    """Mean −log of the true class's probability, none taken below `least`."""
    p, k = _check(probabilities, classes)
    return float(-np.log(np.maximum(p[np.arange(len(k)), k], least)).mean())


def reliability(probabilities: np.ndarray, classes: np.ndarray, bins: int = 10) -> np.ndarray:
    """Per bin of equal width: number of items, mean confidence, share that is right (bins, 3); nan where empty.

    A confidence of exactly 1 belongs to the last bin.
    """
    p, k = _check(probabilities, classes)
    sure, right = p.max(1), p.argmax(1) == k
    which = np.minimum((sure * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(which, sure, bins) / count
        share = np.bincount(which, right.astype(np.float64), bins) / count
    return np.stack((count, mean, share), 1)


def ece(probabilities: np.ndarray, classes: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: Σ share of items in a bin · |confidence − accuracy| (Guo et al. 2017)."""
    table = reliability(probabilities, classes, bins)
    full = table[table[:, 0] > 0]
    return float((full[:, 0] * np.abs(full[:, 1] - full[:, 2])).sum() / table[:, 0].sum())


def two_leading(votes: np.ndarray) -> np.ndarray:
    """The two classes with most votes (N, 2), the leading one first; votes (N, K)."""
    votes = np.asarray(votes)
    if votes.ndim != 2 or votes.shape[1] < 2:
        raise UserError(f"two leading classes need votes of shape (N, at least 2); got {votes.shape}")
    return np.argsort(-votes, axis=1, kind="stable")[:, :2]


def paired_t_test(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Two-sided p-values (N,) of a paired t-test between two classes of each item over its samples.

    values: (N, S, K) of each sample; pairs: (N, 2). Where the two never differ p = 1, where they differ by the same
    amount in every sample p = 0.
    """
    from scipy.special import stdtr

    x, pairs = np.asarray(values, np.float64), np.asarray(pairs)
    if x.ndim != 3 or pairs.shape != (len(x), 2) or x.shape[1] < 2:
        raise UserError(
            f"a paired test needs values (N, at least 2 samples, K) and pairs (N, 2); got {x.shape}, {pairs.shape}"
        )
    rows = np.arange(len(x))
    difference = x[rows, :, pairs[:, 0]] - x[rows, :, pairs[:, 1]]
    count = difference.shape[1]
    mean, error = difference.mean(1), difference.std(1, ddof=1) / np.sqrt(count)
    size = np.where(error > 0, np.abs(mean) / np.where(error > 0, error, 1.0), np.where(mean == 0, 0.0, np.inf))
    return np.asarray(2 * stdtr(count - 1, -size))


def pavpu(right: np.ndarray, certain: np.ndarray) -> float:
    """(right and certain + wrong and uncertain)/all: patch accuracy against uncertainty (Mukhoti & Gal 2018)."""
    right, certain = np.asarray(right, bool), np.asarray(certain, bool)
    if right.shape != certain.shape or not right.size:
        raise UserError(f"each answer is right or wrong, certain or not; got shapes {right.shape}, {certain.shape}")
    return float(np.mean(right == certain))


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The probability that a positive item scores above a negative one, ties counting half."""
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    hits = int(positive.sum())
    if scores.shape != positive.shape or not 0 < hits < len(scores):
        raise UserError("the area under a curve needs one score per item, and items of both kinds")
    ranks = _ranks(scores)
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal scores sharing the mean of theirs."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])
