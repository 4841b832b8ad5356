"""The figures of decoded pictures beside the true ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pushforward.metrics.identification import Identified, identify
from pushforward.metrics.similarity import (
    Window,
    correlation,
    cross_correlation,
    squared_error,
    structural_similarity,
)

WAYS = (2, 10)


@dataclass(frozen=True)
class Score:
    """Each a mean over trials with its standard error; `ssim` is None where items are no pictures.

    `mse` is in units of the squared range of the pixels. `identified` is by correlation of all pixels.
    """

    pcc: tuple[float, float]
    mse: tuple[float, float]
    ssim: tuple[float, float] | None
    identified: tuple[Identified, ...]


def score(
    found: np.ndarray, truth: np.ndarray, span: float, window: Window | None, ways: tuple[int, ...] = WAYS
) -> Score:
    """Of decoded items (n, …), or draws of them (S, n, …) whose figures are averaged draw by draw."""
    draws = found if found.ndim == truth.ndim + 1 else found[None]
    pcc = np.mean([correlation(x, truth) for x in draws], 0)
    mse = np.mean([squared_error(x, truth, span) for x in draws], 0)
    ssim = None if window is None else np.mean([structural_similarity(x, truth, span, window) for x in draws], 0)
    likeness = np.mean([cross_correlation(x, truth) for x in draws], 0)
    identified = tuple(identify(likeness, n) for n in ways if n <= len(truth))
    return Score(_told(pcc), _told(mse), None if ssim is None else _told(ssim), identified)


@dataclass(frozen=True)
class Null:
    """Correlation and two-way identification of ridge alone after training on permuted trials, one of each per order.

    The p-values count orders that do at least as well as the true one. One order alone says little: a wrong map is
    wrong for all test trials together, so that identification strays from one half by more than its standard error.
    """

    pcc: tuple[float, ...]
    two_way: tuple[float, ...]
    pcc_p: float
    two_way_p: float


def null(pictures: Iterable[np.ndarray], ridge: np.ndarray, truth: np.ndarray) -> Null:
    """Of pictures (n, …) decoded after training in other orders, beside what the true order gives."""
    found = [(_mean_pcc(x, truth), _two_way(x, truth)) for x in pictures]
    true = (_mean_pcc(ridge, truth), _two_way(ridge, truth))
    p = [(1 + sum(f[i] >= true[i] for f in found)) / (1 + len(found)) for i in range(2)]
    return Null(tuple(f[0] for f in found), tuple(f[1] for f in found), p[0], p[1])


def _mean_pcc(found: np.ndarray, truth: np.ndarray) -> float:
    return float(correlation(found, truth).mean())


def _two_way(found: np.ndarray, truth: np.ndarray) -> float:
    return identify(cross_correlation(found, truth), 2, shuffles=0).share if len(truth) > 1 else math.nan


def _told(values: np.ndarray) -> tuple[float, float]:
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / n**0.5) if n > 1 else math.nan
