"""Regressions and classifiers that scikit-learn fits and a run stores as tensors: perceptrons and boosted trees."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.card.trees import Trees

SMALL = 3000
"""Rows up to which a second-order method fits a perceptron well."""


class Learner(Protocol):
    """How one kind of regression is made and fitted. Its module maps features (B, F) to outputs (B, R)."""

    def hollow(self, inputs: int, outputs: int) -> nn.Module:
        """The module without its numbers."""
        ...

    def fit(self, module: nn.Module, x: np.ndarray, y: np.ndarray, classify: bool, seed: int) -> None:
        """Fill the module: y (N, R) numbers, or one-hot classes where `classify`; it then gives log-probabilities."""
        ...


class Layers(nn.Module):
    """A plain perceptron of buffers, as scikit-learn has fitted it: it is not trained further."""

    def __init__(self, sizes: Sequence[int], activation: nn.Module) -> None:
        super().__init__()
        self.activation, self.count = activation, len(sizes) - 1
        for i in range(self.count):
            self.register_buffer(f"weight{i}", torch.zeros(sizes[i + 1], sizes[i]))
            self.register_buffer(f"bias{i}", torch.zeros(sizes[i + 1]))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.count):
            x = nn.functional.linear(x, self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}"))
            x = self.activation(x) if i < self.count - 1 else x
        return x

    @torch.no_grad()
    def take(self, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> None:
        """The fitted weights (in, out) and biases (out,)."""
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self.get_buffer(f"weight{i}").copy_(torch.from_numpy(np.array(weight.T)))
            self.get_buffer(f"bias{i}").copy_(torch.from_numpy(np.array(bias)))


@dataclass(frozen=True)
class Perceptrons:
    """A perceptron by Adam with early stopping; with `smooth`, one of tanh by L-BFGS, for small tables."""

    hidden: tuple[int, ...] = (100, 50)
    penalty: float = 1e-2
    smooth: bool = False
    epochs: int = 300

    def hollow(self, inputs: int, outputs: int) -> Layers:
        return Layers((inputs, *self.hidden, outputs), nn.Tanh() if self.smooth else nn.ReLU())

    def fit(self, module: nn.Module, x: np.ndarray, y: np.ndarray, classify: bool, seed: int) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        assert isinstance(module, Layers)
        present = np.flatnonzero(y.sum(0) > 0) if classify else np.arange(y.shape[1])
        common = {
            "hidden_layer_sizes": self.hidden,
            "activation": "tanh" if self.smooth else "relu",
            "solver": "lbfgs" if self.smooth else "adam",
            "alpha": self.penalty,
            "batch_size": "auto" if self.smooth else min(len(x), 32 if len(x) < 5000 else 256),
            "max_iter": self.epochs,
            "early_stopping": not self.smooth
            and len(x) >= 50 * (1 + classify * len(present))
            and not (classify and len(present) == 2 and y[:, present].sum(0).min() < 2),  # it holds out of both classes
            "n_iter_no_change": 25,
            "random_state": seed % (1 << 31),
        }
        if classify and len(present) < 2:
            return
        target: np.ndarray = present[y[:, present].argmax(1)] if classify else y[:, 0] if y.shape[1] == 1 else y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = (MLPClassifier if classify else MLPRegressor)(**common).fit(x, target)
        weights, biases = list(fitted.coefs_), list(fitted.intercepts_)
        if classify:
            weights[-1], biases[-1] = _margins(weights[-1], biases[-1], present, y.shape[1])
        module.take(weights, biases)


def _margins(weight: np.ndarray, bias: np.ndarray, present: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The last layer with one margin per class: two classes share one in scikit-learn, absent ones are improbable."""
    if len(present) == 2:
        weight, bias = np.concatenate((0 * weight, weight), 1), np.concatenate((0 * bias, bias))
    full, offsets = np.zeros((len(weight), classes)), np.full(classes, -12.0)
    full[:, present], offsets[present] = weight, bias
    return full, offsets


@dataclass(frozen=True)
class Boosted:
    """Histogram gradient boosting."""

    trees: int = 200
    leaves: int = 16
    rate: float = 0.08

    def hollow(self, inputs: int, outputs: int) -> Trees:
        return Trees(outputs, self.trees, self.leaves)

    def fit(self, module: nn.Module, x: np.ndarray, y: np.ndarray, classify: bool, seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        assert isinstance(module, Trees)
        least = max(1, min(20, len(x) // 40))
        common: dict[str, Any] = {
            "max_iter": self.trees if not classify else self.trees // 2,
            "max_leaf_nodes": self.leaves,
            "learning_rate": self.rate,
            "min_samples_leaf": least,
            "l2_regularization": 1.0,
            "early_stopping": False,
            "random_state": seed % (1 << 31),
        }
        if not classify:
            for k in range(y.shape[1]):
                module.take(k, HistGradientBoostingRegressor(**common).fit(x, y[:, k]))
            return
        present = np.flatnonzero(y.sum(0) > 0)
        if len(present) < 2:
            return
        module.base.fill_(-12.0)
        fitted = HistGradientBoostingClassifier(**common).fit(x, y[:, present].argmax(1))
        bases = np.ravel(fitted._baseline_prediction)
        if len(present) == 2:
            module.base[int(present[0])] = 0.0
            module.fill(int(present[1]), [stage[0] for stage in fitted._predictors], float(bases[0]))
            return
        for i, k in enumerate(present.tolist()):
            module.fill(k, [stage[i] for stage in fitted._predictors], float(bases[i]))
