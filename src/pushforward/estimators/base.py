"""What CARD's estimators have in common: the form of the data, the fit, samples."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from pushforward.card.classes import fit_temperature, nearest_corner, published_rule
from pushforward.card.means import Mean
from pushforward.data.checks import check_names
from pushforward.data.dataset import Split
from pushforward.data.format import Format
from pushforward.data.frames import Frame, frame_of, missing_sentence
from pushforward.data.pairing import pair
from pushforward.data.splits import split
from pushforward.errors import UserError
from pushforward.estimators.fitting import description, train_card
from pushforward.estimators.foreign import Foreign
from pushforward.estimators.inputs import has_categories, joined, settled_seed
from pushforward.estimators.outputs import squeezed
from pushforward.estimators.settings import DEFAULT, Published, Setting, Usual
from pushforward.models.card import Card, Rows, given_mean
from pushforward.models.predictor import Predictor

LEAST_ROWS = 5
FEW = 10_000
"""Rows held out that a temperature is fitted to, at most."""
UNFITTED = 0.3
"""The temperature where fewer than `LEAST_HELD` are held out."""
LEAST_HELD = 10


class BaseCARD(BaseEstimator):
    """Features and responses of any kind to a model of the response, and samples of it."""

    _classify = False

    def __init__(
        self,
        mean: Any = None,
        setting: Setting | None = None,
        *,
        steps: int | None = None,
        n_samples: int = 100,
        evaluations: int = 20,
        validation: float = 0.1,
        folder: str | Path | None = None,
        random_state: Any = 0,
    ) -> None:
        self.mean, self.setting, self.steps = mean, setting, steps
        self.n_samples, self.evaluations, self.validation = n_samples, evaluations, validation
        self.folder, self.random_state = folder, random_state

    # -- fitting -------------------------------------------------------------------------------------------------

    def _fit(self, x: Any, y: np.ndarray, targets: Sequence[str]) -> None:
        """Fit on features x and responses y (N, targets), which has been checked."""
        if not isinstance(self.setting, Usual | Published | None):
            raise UserError(f"setting is {self.setting!r}: give Usual(…) or Published(…), or leave it out")
        self.seed_ = settled_seed(self.random_state)
        frame = self._frame(x, fitting=True)
        count = len(frame)
        if count < LEAST_ROWS:
            raise UserError(
                f"{count} sample{'s were' if count > 1 else ' was'} given, and at least {LEAST_ROWS} are needed"
            )
        whole, targets = joined(frame, y, targets)
        classes = np.unique(y.astype(str), return_inverse=True)[1].reshape(-1) if self._classify else None
        rows, held, _ = split(count, classes, float(self.validation), 0.0, self.seed_)
        self.pairing_ = pair(whole, targets, np.arange(count), self._classify)
        form, raw = Format(self.pairing_), self.pairing_.raw(whole)
        card = self._card(count)
        items = self._items(card, (Split(raw[rows], None, form), Split(raw[held], None, form)), frame, rows, held)
        setting = self.setting or DEFAULT
        recipe = {**setting.recipe(len(rows)), "seed": self.seed_, "device": "cpu"}
        if self.steps is not None:
            recipe["steps"] = self.steps
        about = description(raw, setting, self.mean, card.log_probabilities)
        self.n_steps_ = train_card(card, items, recipe, self.folder, about)
        self.predictor_ = Predictor(card.eval(), form)
        if self._classify:
            self._temper(items[1])

    def _card(self, rows: int) -> Card:
        """The model, its f the one that is given: a copy of it, so that no fit sees another's."""
        if self.mean is None or isinstance(self.mean, Mean):
            self.foreign_, mean = None, copy.deepcopy(self.mean)
        else:
            self.foreign_, mean = Foreign.of(self.mean), given_mean(self.pairing_)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed_)
            return (self.setting or DEFAULT).card(self.pairing_, rows, mean)

    def _items(
        self, card: Card, parts: tuple[Split, Split], frame: Frame, rows: np.ndarray, held: np.ndarray
    ) -> tuple[Rows, Rows]:
        """[y | f | x] of the rows to train on and of those held out, f by what has not seen its row."""
        if self.foreign_ is None:
            return card.prepare(*parts, self.seed_)
        both = torch.cat([part.all().values for part in parts if len(part)])
        y, x = both.split((card.outputs, card.inputs), 1)
        order = np.concatenate((rows, held))
        f = self.foreign_.fit(self.pairing_, x, y, self._given_back(frame.take(order)), self.seed_)
        card.mean.fit(x, y)
        return card.prepared(y, x, len(rows), f)

    def _temper(self, held: Rows) -> None:
        """Fit the temperature to rows held out, as f says of them what it says of new rows; with too few it stays."""
        card = self.predictor_.card
        if len(held) < LEAST_HELD:
            card.temperature.fill_(UNFITTED)
            return
        y, f, x = held.values[:FEW].split((card.outputs, card.outputs, card.inputs), 1)
        how = {**self._how(f), "seed": self.seed_ + 1}
        drawn = torch.cat(list(self.predictor_.stream(x, self.n_samples, **how)))
        card.temperature.fill_(
            fit_temperature(drawn, y.argmax(1), published_rule if card.published else nearest_corner)
        )

    # -- rows ----------------------------------------------------------------------------------------------------

    def _frame(self, x: Any, fitting: bool = False) -> Frame:
        """Features as a Frame: numbers by scikit-learn's checks, tables with categories by their own."""
        if has_categories(x):
            return self._categories(x, fitting)
        names = [str(name) for name in x.columns] if hasattr(x, "columns") else None
        check_names("X", names or ())
        values = validate_data(
            self, x, reset=fitting, dtype="numeric", ensure_all_finite=False, ensure_min_samples=1 if not fitting else 2
        )
        values = np.asarray(values, np.float64)
        names = names or [f"x{i}" for i in range(values.shape[1])]
        bad = {n: np.flatnonzero(~np.isfinite(values[:, i])) for i, n in enumerate(names)}
        bad = {n: found for n, found in bad.items() if len(found)}
        if bad:
            raise UserError(missing_sentence("Input X", bad))
        return Frame("X", tuple(names), tuple(values.T.copy()), (False,) * values.shape[1])

    def _categories(self, x: Any, fitting: bool) -> Frame:
        frame = frame_of(x, "X", () if fitting else self.pairing_.texts)
        if fitting:
            self.n_features_in_ = len(frame.names)
            if hasattr(x, "columns"):
                self.feature_names_in_ = np.array(frame.names, dtype=object)
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_  # of an earlier fit
        elif len(frame.names) != self.n_features_in_:
            raise UserError(
                f"X has {len(frame.names)} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input"
            )
        return frame

    def _given_back(self, frame: Frame) -> np.ndarray:
        """A frame as a callable sees it: an array of numbers, of objects where there are categories."""
        mixed = any(column.dtype.kind == "U" for column in frame.columns)
        return np.stack([c.astype(object) if mixed else c for c in frame.columns], 1)

    def _rows(self, x: Any) -> tuple[Tensor, Tensor | None]:
        """(features in model units, f where it comes from elsewhere)."""
        check_is_fitted(self, "predictor_")
        frame = self._frame(x)
        features = self.pairing_.encode_features(self.pairing_.raw_features(frame))
        f = None if self.foreign_ is None else self.foreign_.predict(features, self._given_back(frame))
        return features, f

    def _how(self, f: Tensor | None) -> dict[str, Any]:
        return {"f": f, "seed": self.seed_, "evaluations": self.evaluations}

    def sample(self, X: Any, n: int | None = None, *, seed: int | None = None) -> np.ndarray:
        """Independent draws of each row's response, (N, n) for one and (N, n, R) for several responses or classes."""
        x, f = self._rows(X)
        how = {**self._how(f), "seed": self.seed_ if seed is None else seed}
        parts = list(self.predictor_.stream(x, self.n_samples if n is None else n, spread=False, **how))
        return squeezed(self.pairing_.decode_responses(torch.cat(parts)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = not self._classify
        tags.target_tags.single_output = True
        return tags
