"""`CARDClassifier`: classes with the certainty of each decision, in scikit-learn's interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from pushforward.errors import UserError
from pushforward.estimators.base import BaseCARD
from pushforward.estimators.inputs import class_responses
from pushforward.models.predictor import Classified


class CARDClassifier(ClassifierMixin, BaseCARD):
    """Classification with the certainty of each decision; arguments as for `CARDRegressor`, `mean` a classifier."""

    _classify = True

    def fit(self, X: Any, y: Any) -> CARDClassifier:
        """Fit to features X (N, D) and classes y (N,)."""
        values = class_responses(y, X)
        self.classes_, index = np.unique(values, return_inverse=True)
        if len(self.classes_) == 1:
            raise UserError(f"Classifier can't train when only one class is present: all of y is {self.classes_[0]!r}")
        self._fit(X, np.array([f"{i:06d}" for i in index.reshape(-1)], dtype=np.str_)[:, None], ("class",))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row: (N,)."""
        p = self.predict_proba(X)
        return np.asarray(self.classes_[p.argmax(1)])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes (N, K), at the temperature fitted to held-out rows."""
        p = self.predict_certainty(X).probabilities
        return np.asarray(p / p.sum(1, keepdims=True))

    def predict_certainty(self, X: Any, keep: bool = False) -> Classified:
        """Probabilities, votes, widths of intervals and the paired test of each row's decision."""
        x, f = self._rows(X)
        return self.predictor_.classify(x, samples=self.n_samples, keep=keep, **self._how(f))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Their logarithms."""
        return np.log(np.maximum(self.predict_proba(X), 1e-300))

    def log_prob(self, X: Any, y: Any) -> np.ndarray:
        """log P(y | x) of each row. Raises UserError for a class that training never saw."""
        check_is_fitted(self, "predictor_")
        given, known = column_or_1d(y), {value: i for i, value in enumerate(self.classes_.tolist())}
        unknown = [value for value in given.tolist() if value not in known]
        if unknown:
            raise UserError(
                f"y has the class {unknown[0]!r}, which training never saw: it knew {', '.join(map(str, known))}"
            )
        place = np.array([known[value] for value in given.tolist()])
        p = self.predict_log_proba(X)
        if len(place) != len(p):
            raise UserError(f"y has {len(place)} classes for {len(p)} rows: give one for each")
        return np.asarray(p[np.arange(len(place)), place])
