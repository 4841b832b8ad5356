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
    return np.asarray(0.5 * np.log(2 * math.pi * variance) - _log_mean_exp(exponent))


KERNEL_OFFSET = 0.5 * math.log(2) - 0.25
"""Nats by which the kernel estimate is too large for a perfect Gaussian predictor with many samples.

The kernel widens N(μ, s²) to N(μ, 2s²), whose expected −log under N(μ, s²) is ½ ln(2π·2s²) + ¼."""


BANDWIDTHS = tuple(2.0 ** (k / 2) for k in range(-12, 1))
"""Of kernels, in units of a row's spread, that `density_nll` chooses among."""
_DEGREES = 3


def density_nll(truth: np.ndarray, samples: np.ndarray, rows: int = 100) -> np.ndarray:
    """−log of the density that samples are drawn from, as well as they tell it, of each row (N,).

    A kernel of Student's t with 3 degrees of freedom, whose tails are as long as any law's, and whose bandwidth is the
    one of `BANDWIDTHS` that makes samples likeliest by the others of their row (Habbema et al. 1974), over the first
    `rows` rows: one for all, in units of a row's quartiles. Unlike `kernel_nll` it neither widens the law nor prefers
    one that is too narrow: of 1000 samples it is right to 0.03 nats from Gaussian laws to t laws of 2 degrees.
    """
    y, x = check_predictive(truth, samples)
    spread = np.subtract(*np.quantile(x, [0.75, 0.25], axis=1)) / 1.349
    spread = np.where(spread > 0, spread, x.std(1))
    if x.shape[1] < 3 or not (spread > 0).all():
        raise UserError("the density of samples needs at least three per row that are not all the same")
    left_out = [sum(_left_out(one, h * s) for one, s in zip(x[:rows], spread, strict=False)) for h in BANDWIDTHS]
    width = BANDWIDTHS[int(np.argmax(left_out))] * spread
    return np.log(width) - _log_mean_exp(_log_t((y[:, None] - x) / width[:, None]))


def _left_out(x: np.ndarray, width: float) -> float:
    """Mean log-density of samples (S,) by kernels on the others."""
    log = _log_t((x[:, None] - x) / width)
    np.fill_diagonal(log, -np.inf)
    return float(_log_mean_exp(log).mean() - math.log(width))


def _log_t(u: np.ndarray) -> np.ndarray:
    """log-density of Student's t."""
    n = _DEGREES
    unit = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - 0.5 * math.log(n * math.pi)
    return unit - (n + 1) / 2 * np.log1p(u**2 / n)


def _log_mean_exp(values: np.ndarray) -> np.ndarray:
    """log of the mean of exp over the last axis."""
    most = values.max(-1)
    return np.asarray(most + np.log(np.exp(values - most[..., None]).mean(-1)))


def gaussian_nll(truth: np.ndarray, mean: np.ndarray, deviation: np.ndarray | float) -> np.ndarray:
    """−log N(y; mean, deviation²) of each row (N,)."""
    y, m = np.asarray(truth, np.float64), np.asarray(mean, np.float64)
    s = np.broadcast_to(np.asarray(deviation, np.float64), y.shape)
    if not (s > 0).all():
        raise UserError("a Gaussian needs a deviation above 0 for every row")
    return np.asarray(0.5 * np.log(2 * math.pi * s**2) + (y - m) ** 2 / (2 * s**2))
