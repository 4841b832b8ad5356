"""A regression or classifier from elsewhere as f(x): an estimator that is cross-fitted, or a callable as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from pushforward.card.folds import folds_of
from pushforward.card.means import FOLDS, rows_seen
from pushforward.data.pairing import Pairing
from pushforward.errors import UserError


@dataclass(eq=False)
class Foreign:
    """f from an estimator, fitted anew in each fold to features and responses in model units, or from a callable.

    A callable is given the rows as the caller gave them and answers in the response's own unit, (N,) or (N, R), or with
    probabilities of the classes (N, K), in the order of `classes_`.
    """

    estimator: Any = None
    function: Callable[[np.ndarray], Any] | None = None
    parts: list[Any] = field(default_factory=list)
    pairing: Pairing | None = None

    @staticmethod
    def of(given: Any) -> Foreign:
        """Raises UserError for what is neither."""
        if hasattr(given, "fit") and hasattr(given, "predict"):
            return Foreign(estimator=given)
        if callable(given):
            return Foreign(function=given)
        raise UserError(
            f"mean must be a scikit-learn estimator or a callable f(X); got {type(given).__name__}: leave it out to "
            "have one chosen"
        )

    def fit(self, pairing: Pairing, x: Tensor, y: Tensor, rows: np.ndarray, seed: int) -> Tensor:
        """f of the training rows: (N, R), by parts that have not seen them."""
        self.pairing = pairing
        if self.function is not None:
            return self._asked(rows)
        fold, features, truth = folds_of(x, y, FOLDS).numpy(), x.double().numpy(), y.double().numpy()
        classify, out = pairing.classes is not None, np.zeros(y.shape)
        if classify and not hasattr(self.estimator, "predict_proba"):
            raise UserError(f"{type(self.estimator).__name__} has no predict_proba, and f must give probabilities")
        self.parts = []
        for k in range(FOLDS):
            seen = rows_seen(fold, k, truth, classify)
            target = truth[seen].argmax(1) if classify else truth[seen, 0] if y.shape[1] == 1 else truth[seen]
            part = clone(self.estimator)
            free = [n for n, v in part.get_params().items() if n.split("__")[-1] == "random_state" and v is None]
            part.set_params(**dict.fromkeys(free, seed % (1 << 31)))  # those of the steps of a pipeline too
            self.parts.append(part.fit(features[seen], target))
            if (fold == k).any():
                out[fold == k] = self._read(part, features[fold == k])
        return torch.from_numpy(out).float()

    def predict(self, x: Tensor, rows: np.ndarray) -> Tensor:
        """f of new rows: (N, R), in model units."""
        if self.function is not None:
            return self._asked(rows)
        features = x.double().numpy()
        return torch.from_numpy(np.mean([self._read(part, features) for part in self.parts], 0)).float()

    def _read(self, part: Any, features: np.ndarray) -> np.ndarray:
        assert self.pairing is not None
        if self.pairing.classes is None:
            return np.asarray(part.predict(features), np.float64).reshape(len(features), -1)
        out = np.zeros((len(features), self.pairing.outputs))
        out[:, part.classes_.astype(int)] = part.predict_proba(features)
        return out

    def _asked(self, rows: np.ndarray) -> Tensor:
        assert self.function is not None and self.pairing is not None
        found = np.asarray(self.function(rows), np.float64)
        found = found.reshape(len(rows), -1) if found.size == len(rows) * self.pairing.outputs else found
        if found.shape != (len(rows), self.pairing.outputs):
            raise UserError(
                f"the function given as mean answered {found.shape} for {len(rows)} rows, and "
                f"({len(rows)}, {self.pairing.outputs}) was expected"
            )
        if not np.isfinite(found).all():
            raise UserError("the function given as mean answered with values that are not finite")
        if self.pairing.classes is not None:
            if (found < 0).any() or not np.allclose(found.sum(1), 1, atol=1e-3):
                raise UserError("the function given as mean must answer with probabilities that sum to 1 in every row")
            return torch.from_numpy(found).float()
        return self.pairing.encode_responses(found)
