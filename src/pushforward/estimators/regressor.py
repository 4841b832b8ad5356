"""`CARDRegressor`: the law of a response in scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from pushforward.errors import UserError
from pushforward.estimators.base import BaseCARD
from pushforward.estimators.inputs import number_responses, response_names
from pushforward.estimators.outputs import like, squeezed
from pushforward.models.predictor import Prediction


class CARDRegressor(RegressorMixin, BaseCARD):
    """Regression that predicts the whole law of the response (CARD: Han et al. 2022).

    Args:
        mean: f(x), around which the law is learned: None chooses and cross-fits perceptrons and boosted trees; a
            scikit-learn regressor is cloned and cross-fitted; a callable f(X) is taken as it is.
        setting: `Usual(…)`, the default, or `Published(…)` for the configuration of the paper.
        steps: of the optimiser, where not those of the setting.
        n_samples: draws of each row behind means and quantiles.
        evaluations: of the network per draw (the published setting takes all its levels).
        validation: share of the rows that choose the best weights.
        folder: where checkpoints are kept, so that a fit that was interrupted continues; by default nowhere.
        random_state: all randomness is a function of it; a row's prediction depends on the row alone.

    Numbers, texts and pandas or polars columns are taken; missing values are refused, with their columns.
    """

    def fit(self, X: Any, y: Any) -> CARDRegressor:
        """Fit to features X (N, D) and responses y (N,) or (N, R)."""
        values = number_responses(y, X)
        self.single_ = values.ndim == 1
        values = values.reshape(len(values), -1)
        self._fit(X, values, response_names(y, values.shape[1]))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The mean response of each row: (N,) or (N, R)."""
        return self._shaped(self.predict_law(X).mean)

    def predict_law(self, X: Any, levels: Sequence[float] | None = None, keep: bool = False) -> Prediction:
        """Mean, deviation and quantiles (by default of 2.5 to 97.5 %); with `keep` the draws."""
        x, f = self._rows(X)
        return self.predictor_.predict(x, samples=self.n_samples, levels=levels, keep=keep, **self._how(f))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """The central interval of each row: (N, 2) or (N, 2, R)."""
        if not 0 < coverage < 1:
            raise UserError(f"the coverage of an interval must lie between 0 and 1; got {coverage}")
        ends = ((1 - coverage) / 2, (1 + coverage) / 2)
        return squeezed(self.predict_law(X, ends).quantiles, self.single_)

    def predict_quantiles(self, X: Any, levels: Sequence[float] | None = None) -> np.ndarray:
        """Quantiles of each row's response: (N, Q) or (N, Q, R)."""
        return squeezed(self.predict_law(X, levels).quantiles, self.single_)

    def predict_table(self, X: Any, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Any:
        """Mean, deviation and quantiles as a table of the kind that X is, its index kept; a dict of columns else."""
        return like(X, self.predict_law(X, levels).columns(self.pairing_.targets))

    def log_prob(self, X: Any, y: Any) -> np.ndarray:
        """log p(y | x) in nats, exact for the model: (N,)."""
        x, f = self._rows(X)
        values = np.asarray(y, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.shape != (len(x), len(self.pairing_.targets)) or not np.isfinite(values).all():
            raise UserError(
                f"y has the shape {np.shape(y)}, and {len(self.pairing_.targets)} finite "
                f"response{'s' * (len(self.pairing_.targets) > 1)} for each of the {len(x)} rows were expected"
            )
        return self.predictor_.log_prob(x, self.pairing_.encode_responses(values), f=f)

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        return values[:, 0] if self.single_ else values
