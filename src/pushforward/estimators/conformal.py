"""A wrapper that makes the coverage of an estimator's intervals or sets a guarantee."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from pushforward.card.conformal import conformal_quantile, interval_scores, set_scores
from pushforward.data.splits import split
from pushforward.errors import UserError
from pushforward.estimators.inputs import require_values, settled_seed


class Conformal(MetaEstimatorMixin, BaseEstimator):
    """Intervals of a `CARDRegressor`, or sets of classes of a `CARDClassifier`, that cover as often as they say.

    A share of the rows, `calibration`, is not fitted to; intervals are widened (or narrowed) until they cover the share
    `coverage` of these, which then holds for new rows from the same law, whatever the model.
    """

    def __init__(
        self, estimator: Any = None, coverage: float = 0.9, calibration: float = 0.25, random_state: Any = 0
    ) -> None:
        self.estimator, self.coverage = estimator, coverage
        self.calibration, self.random_state = calibration, random_state

    def fit(self, X: Any, y: Any) -> Conformal:
        """Fit to some of the rows and calibrate on the others."""
        if not hasattr(self.estimator, "fit"):
            raise UserError(f"a CARDRegressor or CARDClassifier was expected; got {self.estimator!r}")
        classify = is_classifier(self.estimator)
        if not hasattr(self.estimator, "predict_proba" if classify else "predict_interval"):
            raise UserError(
                f"{type(self.estimator).__name__} predicts no {'probabilities' if classify else 'intervals'} to make "
                "certain: give a CARDRegressor or CARDClassifier, in a pipeline as Conformal(CARDRegressor())"
            )
        require_values("X", X)
        require_values("y", y)
        y = np.asarray(y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim > 1:
            raise UserError("one response is made certain at a time; fit one estimator for each")
        check_consistent_length(X, y)
        # not stratified: rows of classes that have few would never be held out, and new rows may be of such
        rows, held, _ = split(len(y), None, self.calibration, 0.0, settled_seed(self.random_state))
        conformal_quantile(np.zeros(len(held)), self.coverage)  # too few rows are found before anything is fitted
        self.estimator_ = clone(self.estimator).fit(_some(X, rows), y[rows])
        others = _some(X, held)
        if classify:
            known = self.estimator_.classes_
            place = np.searchsorted(known, y[held]).clip(max=len(known) - 1)
            scores = set_scores(self.estimator_.predict_proba(others), place)
            scores[known[place] != y[held]] = 1.0  # a class that all its rows of are held out has no probability
        else:
            scores = interval_scores(y[held], *self.estimator_.predict_interval(others, self.coverage).T)
        self.offset_ = conformal_quantile(scores, self.coverage)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """As the estimator predicts."""
        check_is_fitted(self, "offset_")
        return np.asarray(self.estimator_.predict(X))

    def predict_interval(self, X: Any) -> np.ndarray:
        """Intervals that cover at least `coverage` of new responses: (N, 2)."""
        check_is_fitted(self, "offset_")
        low, high = self.estimator_.predict_interval(X, self.coverage).T
        middle = (low + high) / 2
        return np.stack((np.minimum(low - self.offset_, middle), np.maximum(high + self.offset_, middle)), 1)

    def predict_set(self, X: Any) -> np.ndarray:
        """Which classes are in the set of each row, bool (N, K); never none."""
        check_is_fitted(self, "offset_")
        p = self.estimator_.predict_proba(X)
        return np.asarray((1 - p <= self.offset_) | (p == p.max(1, keepdims=True)))


def _some(x: Any, rows: np.ndarray) -> Any:
    return x.iloc[rows] if hasattr(x, "iloc") else x[rows] if hasattr(x, "columns") else np.asarray(x)[rows]
