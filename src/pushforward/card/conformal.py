"""Intervals and sets with guaranteed coverage: what a model says is moved until held-out rows are covered.

On n held-out rows exchangeable with the new one, the coverage is at least the level asked for, whatever the model
(Vovk et al. 2005), and at most 1/(n + 1) more where scores do not tie.
"""

from __future__ import annotations

import math

import numpy as np

from pushforward.errors import UserError


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """The ⌈(n + 1)·coverage⌉-th smallest of n scores. Raises UserError where n is too small for the coverage."""
    scores = np.sort(np.asarray(scores, np.float64))
    if not 0 < coverage < 1:
        raise UserError(f"the coverage must lie between 0 and 1; got {coverage}")
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)  # 10 · 0.9 is 9, whatever floats say
    if rank > len(scores):
        needed = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise UserError(
            f"a coverage of {coverage:g} needs at least {needed} rows held out for it; there are {len(scores)}"
        )
    return float(scores[rank - 1])


def interval_scores(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How far outside its interval each truth lies, negative within (Romano et al. 2019)."""
    return np.maximum(low - truth, truth - high)


def set_scores(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One minus the probability of the true class (Sadinle et al. 2019)."""
    return np.asarray(1 - probabilities[np.arange(len(classes)), classes])
