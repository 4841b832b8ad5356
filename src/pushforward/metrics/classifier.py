"""An independent judge of labels: a support vector machine fitted on real training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, from_numpy

from pushforward.errors import UserError
from pushforward.metrics.checks import Samples, labels_of, matrix
from pushforward.metrics.features import PixelPCA
from pushforward.numerics.random import key, permutation

_ITEMS = 10_000  # the training time of the machine grows with the square of this


@dataclass(frozen=True)
class Classifier:
    """A deterministic RBF support vector machine on principal components of the pixels; also a feature space.

    It never sees the generative model. As features it gives its decision values, one per class.
    """

    space: PixelPCA
    machine: Any
    name: str = "svc-margins"

    @staticmethod
    def fit(train: Samples, labels: ArrayLike | Tensor) -> Classifier:
        """Fitted on real training items and their labels; raises UserError where there are fewer than two classes."""
        from sklearn.svm import SVC

        x = matrix(train, "training items")
        y = labels_of(labels, len(x), "training")
        if len(np.unique(y)) < 2:
            raise UserError("A classifier needs training labels of at least two classes, but was given one class only.")
        chosen = permutation(key(0, "classifier"), len(x))[:_ITEMS]
        # All pixels share one scale: divided by its own deviation, a rarely lit pixel would outshout the others.
        space = PixelPCA.fit(x, dim=64)
        machine = SVC(C=10.0, kernel="rbf", gamma="scale", decision_function_shape="ovr")
        return Classifier(space, machine.fit(space(x[chosen]).numpy(), y[chosen.numpy()]))

    def predict(self, x: Samples) -> NDArray[np.int64]:
        """The most likely label of each item: int64 (N,)."""
        return self.machine.predict(self.space(x).numpy())

    def accuracy(self, x: Samples, labels: ArrayLike | Tensor) -> float:
        """Share of items whose predicted label is the given one."""
        predicted = self.predict(x)
        return float((predicted == labels_of(labels, len(predicted), "sample")).mean())

    def __call__(self, x: Samples) -> Tensor:
        values = self.machine.decision_function(self.space(x).numpy())
        return from_numpy(np.asarray(values, dtype=np.float64)).reshape(len(values), -1)
