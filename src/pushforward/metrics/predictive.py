"""How good predictive samples of a response are: error of the mean, continuous ranked probability score, likelihoods.

Samples are (N, S): S draws of the response of each of N rows; the truth is (N,). All in the response's own unit.
"""

from __future__ import annotations

import math

import numpy as np

from pushforward.errors import UserError
from pushforward.metrics.checks import check_predictive


def rmse(truth: np.ndarray, mean: np.ndarray) -> float:
    """√(mean of (y − ŷ)²)."""
    truth, mean = np.asarray(truth, np.float64), np.asarray(mean, np.float64)
    if truth.shape != mean.shape:
        raise UserError(f"there are predictions of shape {mean.shape} for truths of shape {truth.shape}")
    return float(np.sqrt(np.mean((truth - mean) ** 2)))


def crps(truth: np.ndarray, samples: np.ndarray, evenly: bool = False) -> np.ndarray:
    """E|X − y| − ½ E|X − X′| of each row (N,), unbiased in the number of samples (Gneiting & Raftery 2007).

    Independent samples S are spread by (S − 1)/S of their law on average, over all pairs with themselves among them;
    those that are spread `evenly` over it, as a predictor's, by all of it.

    It is in the response's unit; the mean absolute error of a prediction without spread is its special case. The second
    term is a weighted sum of the ordered samples, so that S² differences are never formed.
    """
    y, x = check_predictive(truth, samples)
    count = x.shape[1]
    distance = np.abs(x - y[:, None]).mean(1)
    if count == 1:
        return distance
    weights = 2 * np.arange(1, count + 1) - count - 1
    spread = np.sort(x, 1) @ weights / (count * (count if evenly else count - 1))
    return np.asarray(distance - spread)


def kernel_nll(truth: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """−log of a Gaussian kernel estimate whose bandwidth is the samples' own deviation, of each row (N,).

    This is what is published as the likelihood of CARD (Han et al. 2022). It is none of the model: for a perfect
    Gaussian predictor it exceeds the entropy by ½ ln 2 − ¼ = 0.0966 nats (`KERNEL_OFFSET`). Needs two samples a row.
    """
    y, x = check_predictive(truth, samples)
    if x.shape[1] < 2:
        raise UserError("the kernel estimate needs at least two samples per row: their deviation is its bandwidth")
    variance = x.var(1, ddof=1)
    if not (variance > 0).all():
        raise UserError(f"all samples of row {int(np.argmin(variance))} are the same: a kernel needs a width")
    exponent = -((y[:, None] - x) ** 2) / (2 * variance[:, None])
    most = exponent.max(1)
    log_mean = most + np.log(np.exp(exponent - most[:, None]).mean(1))
    return np.asarray(0.5 * np.log(2 * math.pi * variance) - log_mean)


KERNEL_OFFSET = 0.5 * math.log(2) - 0.25
"""Nats by which the kernel estimate is too large for a perfect Gaussian predictor with many samples.

The kernel widens N(μ, s²) to N(μ, 2s²), whose expected −log under N(μ, s²) is ½ ln(2π·2s²) + ¼."""


def gaussian_nll(truth: np.ndarray, mean: np.ndarray, deviation: np.ndarray | float) -> np.ndarray:
    """−log N(y; mean, deviation²) of each row (N,)."""
    y, m = np.asarray(truth, np.float64), np.asarray(mean, np.float64)
    s = np.broadcast_to(np.asarray(deviation, np.float64), y.shape)
    if not (s > 0).all():
        raise UserError("a Gaussian needs a deviation above 0 for every row")
    return np.asarray(0.5 * np.log(2 * math.pi * s**2) + (y - m) ** 2 / (2 * s**2))
