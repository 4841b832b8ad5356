"""f(x), the regression or classifier that CARD is built around: fitted first, then left as it is.

What the diffusion learns are residuals. Those of rows that f was fitted on are smaller than those of new rows, and a
model trained on them is too sure of itself; so f is cross-fitted: it has one part per fold of the rows, a residual is
that of the part which has not seen its row, and new rows are given to all parts (Chernozhukov et al. 2018).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from pushforward.card.folds import folds_of
from pushforward.card.learners import Boosted, Learner, Perceptrons
from pushforward.errors import UserError


class Mean(nn.Module, abc.ABC):
    """f: features (B, F) to outputs (B, R) in model units, or to probabilities of R classes.

    `live` says that it is asked anew at every step of training, and not once for every row.
    """

    live = False
    fitted: Tensor

    def __init__(self, inputs: int, outputs: int, classify: bool) -> None:
        super().__init__()
        self.inputs, self.outputs, self.classify = inputs, outputs, classify
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @abc.abstractmethod
    def fit(self, x: Tensor, y: Tensor, seed: int = 0) -> None:
        """Learn from rows x (N, F) and responses y (N, R), one-hot for classes."""

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """f of new rows (B, F): (B, R)."""

    def out_of_fold(self, x: Tensor, y: Tensor) -> Tensor:
        """f of all the rows that it was fitted on, as far as possible by what has not seen them: (N, R)."""
        return self(x)


class Given(Mean):
    """f from elsewhere: its values come with the rows."""

    def fit(self, x: Tensor, y: Tensor, seed: int = 0) -> None:
        self.fitted.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        raise UserError("this model was built around a regression from elsewhere: give its values with the rows")


class Stacked(Mean):
    """Σ_j w_j · (mean over folds of learner j), w ≥ 0 what serves rows not seen best (Breiman 1996)."""

    weights: Tensor

    def __init__(self, inputs: int, outputs: int, classify: bool, learners: Sequence[Learner], folds: int = 5) -> None:
        super().__init__(inputs, outputs, classify)
        self.learners, self.folds = tuple(learners), folds
        self.parts = nn.ModuleList(
            nn.ModuleList(learner.hollow(inputs, outputs) for _ in range(folds)) for learner in learners
        )
        self.register_buffer("weights", torch.full((len(self.learners),), 1 / len(self.learners)))

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor, seed: int = 0) -> None:
        fold, rows, truth = folds_of(x, y, self.folds), x.double().numpy(), y.double().numpy()
        for k in range(self.folds):
            seen = rows_seen(fold.numpy(), k, truth, self.classify)
            for j, learner in enumerate(self.learners):
                learner.fit(self._part(j, k), rows[seen], truth[seen], self.classify, seed + 101 * k + j)
        found = torch.stack([self._one(j, x, fold) for j in range(len(self.learners))]).double().numpy()
        weights = _mixture(found, truth) if self.classify else _least_squares(found, truth)
        self.weights.copy_(torch.from_numpy(weights))
        self.fitted.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        return self._sum([torch.stack([self._read(j, k, x) for k in range(self.folds)]).mean(0) for j in self._used()])

    def out_of_fold(self, x: Tensor, y: Tensor) -> Tensor:
        fold = folds_of(x, y, self.folds).to(x.device)
        return self._sum([self._one(j, x, fold) for j in self._used()])

    def _used(self) -> list[int]:
        """Learners whose weight is not 0: the others need not be asked."""
        return [j for j, weight in enumerate(self.weights.tolist()) if weight > 0] or [0]

    def _sum(self, outputs: Sequence[Tensor]) -> Tensor:
        used = self._used()
        return sum((self.weights[j] * out for j, out in zip(used, outputs, strict=True)), torch.zeros_like(outputs[0]))

    def _one(self, j: int, x: Tensor, fold: Tensor) -> Tensor:
        """Learner j of each row, by the part that has not seen it."""
        out = x.new_zeros(len(x), self.outputs)
        for k in range(self.folds):
            mine = fold == k
            if bool(mine.any()):
                out[mine] = self._read(j, k, x[mine])
        return out

    def _read(self, j: int, k: int, x: Tensor) -> Tensor:
        out = self._part(j, k)(x)
        return torch.softmax(out, 1) if self.classify else out

    def _part(self, j: int, k: int) -> nn.Module:
        parts = self.parts[j]
        assert isinstance(parts, nn.ModuleList)
        return parts[k]


FOLDS, FOLDS_OF_FEW = 5, 10
"""That f is cross-fitted in by default, and where there are few rows, so that its parts see nearly as many as all."""


def usual_folds(small: bool) -> int:
    """How many, where nothing else is asked for."""
    return FOLDS_OF_FEW if small else FOLDS


def usual_mean(inputs: int, outputs: int, classify: bool, small: bool, folds: int | None = None) -> Stacked:
    """Perceptrons and boosted trees; on small tables smooth perceptrons too, and more folds."""
    folds = usual_folds(small) if folds is None else folds
    learners: list[Learner] = [Perceptrons(), Boosted()]
    if small:
        learners.append(Perceptrons((32,), penalty=1e-1, smooth=True, epochs=400))
    return Stacked(inputs, outputs, classify, learners, folds)


def rows_seen(fold: np.ndarray, k: int, y: np.ndarray, classify: bool) -> np.ndarray:
    """The rows outside fold k; all rows where too few are outside or a class would be missing."""
    seen = fold != k
    lacking = classify and bool((y[seen].sum(0) == 0).any() and (y.sum(0) > 0).any())
    return np.ones_like(seen) if seen.sum() < 4 or (lacking and len(y) < 100) else seen


def _least_squares(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Weights ≥ 0 of predictions (L, N, R) with the least squared error."""
    weights, _ = nnls(found.reshape(len(found), -1).T, truth.ravel())
    return np.asarray(weights) if weights.sum() > 0 else np.full(len(found), 0.0)


def _mixture(found: np.ndarray, truth: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Weights on the simplex of class probabilities (L, N, K) with the greatest likelihood, by expectation steps."""
    likelihood = np.maximum((found * truth).sum(2), 1e-9)
    weights = np.full(len(found), 1 / len(found))
    for _ in range(rounds):
        share = weights[:, None] * likelihood
        weights = (share / share.sum(0)).mean(1)
    weights = np.where(weights < 1e-3, 0.0, weights)
    return np.asarray(weights / weights.sum())
