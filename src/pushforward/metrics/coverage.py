"""Whether predictive intervals hold what they promise: coverage, widths, quantile calibration, each with its floor.

Samples are (N, S), truths (N,), as in `predictive`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import gammaln

from pushforward.errors import UserError
from pushforward.metrics.checks import check_predictive
from pushforward.numerics.random import Draws

LEVELS = tuple(k / 20 for k in range(1, 20))
"""Of the quantiles whose calibration is usually looked at."""


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise UserError(f"{name} must lie between 0 and 1; got {value}")


def interval(samples: np.ndarray, coverage: float = 0.95, evenly: bool = False) -> np.ndarray:
    """The central interval of each row (N, 2): quantiles (1 − c)/2 and (1 + c)/2 of its samples (N, S).

    A quantile q has the rank (S + 1) q among independent samples and S q + ½ among those spread `evenly` over the law,
    as a predictor's: then a further sample is covered with the probability asked for, also by few.
    """
    _check_share("the coverage of an interval", coverage)
    tail, wide = (1 - coverage) / 2, np.asarray(samples, np.float64)
    rank: Literal["hazen", "weibull"] = "hazen" if evenly else "weibull"
    return np.asarray(np.quantile(wide, [tail, 1 - tail], axis=1, method=rank).T)


def picp(truth: np.ndarray, samples: np.ndarray, coverage: float = 0.95, evenly: bool = False) -> float:
    """The share of truths in their central interval; `coverage` where the model is calibrated."""
    y, x = check_predictive(truth, samples)
    low, high = interval(x, coverage, evenly).T
    return float(np.mean((low <= y) & (y <= high)))


def widths(samples: np.ndarray, coverage: float = 0.95, evenly: bool = False) -> np.ndarray:
    """The widths of the central intervals (N,), in the response's unit."""
    low, high = interval(samples, coverage, evenly).T
    return np.asarray(high - low)


def over_cells(truth: np.ndarray, cells: np.ndarray | float, seed: int = 0) -> np.ndarray:
    """Truths (N,) or (N, R) that were rounded to a step, each anywhere within half a step of where it is written.

    A continuous law of such a response, asked which of its quantiles a truth lies between, would find all truths in the
    middles of their cells: calibration is measured on these (the randomised transform of Czado, Gneiting and Held
    2009). `cells`: the steps, 0 where nothing was rounded.
    """
    y = np.asarray(truth, np.float64)
    u = Draws.of(seed, range(len(y)), "cells").uniform(y.shape[1:]).double().numpy()
    return np.asarray(y + np.asarray(cells, np.float64) * (u - 0.5))


def bin_shares(truth: np.ndarray, samples: np.ndarray, bins: int = 10) -> np.ndarray:
    """The share of truths between consecutive quantiles k/bins of their own samples (bins,); the ends are open."""
    y, x = check_predictive(truth, samples)
    if bins < 2:
        raise UserError(f"calibration is measured in at least 2 bins; got {bins}")
    edges = np.quantile(x, np.arange(1, bins) / bins, axis=1)
    return np.bincount((y > edges).sum(0), minlength=bins) / len(y)


def qice(truth: np.ndarray, samples: np.ndarray, bins: int = 10) -> float:
    """Mean |share of truths in a quantile bin − 1/bins| (Han et al. 2022). Read it beside `qice_floor`."""
    return float(np.abs(bin_shares(truth, samples, bins) - 1 / bins).mean())


def qice_floor(rows: int, bins: int = 10) -> float:
    """What a perfect predictor scores in expectation on so many rows: E|X/n − p| of X ~ Binomial(n, p), p = 1/bins.

    The mean deviation of a binomial is 2ν C(n, ν) p^ν (1 − p)^(n − ν + 1) with ν = ⌊np⌋ + 1 (de Moivre 1730).
    """
    if rows < 1 or bins < 2:
        raise UserError(f"a floor needs at least one row and two bins; got {rows} and {bins}")
    p, v = 1 / bins, rows // bins + 1
    log_choose = gammaln(rows + 1) - gammaln(v + 1) - gammaln(rows - v + 1)
    log = math.log(2 * v) + log_choose + v * math.log(p) + (rows - v + 1) * math.log1p(-p)
    return math.exp(log) / rows


def calibration_curve(truth: np.ndarray, samples: np.ndarray, levels: Sequence[float] = LEVELS) -> np.ndarray:
    """The share of truths below each predicted quantile (len(levels),): the levels themselves where calibrated."""
    y, x = check_predictive(truth, samples)
    for level in levels:
        _check_share("the level of a quantile", level)
    return np.asarray((y <= np.quantile(x, np.asarray(levels), axis=1)).mean(1))


def calibration_band(rows: int, levels: Sequence[float], deviations: float = 1.96) -> np.ndarray:
    """How far a perfect predictor's curve strays from the levels on so many rows (len(levels),)."""
    p = np.asarray(levels, np.float64)
    return np.asarray(deviations * np.sqrt(p * (1 - p) / rows))
