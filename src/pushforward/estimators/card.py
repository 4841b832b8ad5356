"""`CARDRegressor` and `CARDClassifier`: predictions with uncertainty in scikit-learn's interface."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from pushforward.card.classes import fit_temperature, nearest_corner, published_rule
from pushforward.card.means import Mean
from pushforward.data.dataset import Split
from pushforward.data.format import Format
from pushforward.data.frames import Frame, frame_of, missing_sentence
from pushforward.data.pairing import pair
from pushforward.data.splits import split
from pushforward.errors import UserError
from pushforward.estimators.foreign import Foreign
from pushforward.estimators.settings import DEFAULT, Setting
from pushforward.models.card import Card, given_mean
from pushforward.models.predictor import QUANTILES, Classified, Prediction, Predictor
from pushforward.training.checkpoint import load_weights, read_checkpoint
from pushforward.training.folder import find_checkpoint
from pushforward.training.loop import fit as train
from pushforward.training.recipe import Recipe

LEAST_ROWS = 5
FEW = 10_000
"""Rows up to which every one is held for a temperature; beyond, the first so many of those held out."""


class _CARD(BaseEstimator):
    """What both have in common: the data's form, the fit, samples."""

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
        random_state: int = 0,
    ) -> None:
        self.mean, self.setting, self.steps = mean, setting, steps
        self.n_samples, self.evaluations, self.validation = n_samples, evaluations, validation
        self.folder, self.random_state = folder, random_state

    # -- fitting -------------------------------------------------------------------------------------------------

    def _fit(self, x: Any, y: Any, targets: Sequence[str]) -> _CARD:
        """Fit on features x and responses y (N, targets), checked already by the one who calls."""
        frame = self._frame(x, fitting=True)
        count = len(frame)
        if count < LEAST_ROWS:
            raise UserError(
                f"{count} sample{'s were' if count > 1 else ' was'} given, and at least {LEAST_ROWS} are needed"
            )
        whole = _joined(frame, y, targets)
        classes = np.unique(y.astype(str), return_inverse=True)[1].reshape(-1) if self._classify else None
        rows, held, _ = split(count, classes, float(self.validation), 0.0, self._seed)
        self.pairing_ = pair(whole, targets, np.arange(count), self._classify)
        form = Format(self.pairing_)
        raw = self.pairing_.raw(whole)
        parts = Split(raw[rows], None, form), Split(raw[held], None, form)
        self.foreign_ = None if self.mean is None or isinstance(self.mean, Mean) else Foreign.of(self.mean)
        own = given_mean(self.pairing_) if self.foreign_ is not None else self.mean
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed)
            card = (self.setting or DEFAULT).card(self.pairing_, count, own)
        items = self._items(card, parts, frame, rows, held)
        self._train(card, items, len(rows), raw)
        self.predictor_ = Predictor(card, form)
        if self._classify:
            self._temper(parts, frame, held)
        return self

    @property
    def _seed(self) -> int:
        state = self.random_state
        if state is None:
            return 0
        return int(state) if isinstance(state, int | np.integer) else int(state.randint(1 << 31))

    def _items(self, card: Card, parts: tuple[Split, Split], frame: Frame, rows: np.ndarray, held: np.ndarray) -> Any:
        if self.foreign_ is None:
            return card.prepare(*parts, self._seed)
        both = torch.cat([part.all().values for part in parts if len(part)])
        y, x = both.split((card.outputs, card.inputs), 1)
        order = np.concatenate((rows, held))
        f = self.foreign_.fit(self.pairing_, x, y, self._given_back(frame.take(order)), self._seed)
        card.mean.fit(x, y)
        return card.prepared(y, x, len(rows), f)

    def _train(self, card: Card, items: Any, rows: int, raw: np.ndarray) -> None:
        setting = self.setting or DEFAULT
        given = {**setting.recipe(rows), "seed": self._seed, "device": "cpu", "save_seconds": None}
        if self.steps is not None:
            given["steps"] = self.steps
        recipe = Recipe(**given)
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch if self.folder is None else self.folder)
            about = {"rows": len(raw), "columns": list(raw.shape[1:]), "setting": type(setting).__name__}
            outcome = train(card, items[0], items[1], recipe, out, about)
            best = find_checkpoint(out) if self.folder is not None else read_checkpoint(_best(outcome))
            load_weights(card, best)
        card.eval()
        self.n_steps_ = outcome.total

    def _temper(self, parts: tuple[Split, Split], frame: Frame, held: np.ndarray) -> None:
        """Fit the temperature to held-out rows; with too few of them it stays."""
        card, values = self.predictor_.card, parts[1].all().values[:FEW] if len(parts[1]) else torch.empty(0)
        if len(values) < 10:
            card.temperature.fill_(0.3)
            return
        y, x = values.split((card.outputs, card.inputs), 1)
        f = None if self.foreign_ is None else self.foreign_.predict(x, self._given_back(frame.take(held[: len(x)])))
        drawn = torch.cat(
            list(self.predictor_.stream(x, self.n_samples, f=f, seed=self._seed + 1, evaluations=self.evaluations))
        )
        rule = published_rule if card.published else nearest_corner
        card.temperature.fill_(fit_temperature(drawn, y.argmax(1), rule))

    # -- rows ----------------------------------------------------------------------------------------------------

    def _frame(self, x: Any, fitting: bool = False) -> Frame:
        """Features as a Frame: numbers by scikit-learn's checks, tables with categories by their own."""
        if _has_categories(x):
            frame = frame_of(x, "X")
            if fitting:
                self.n_features_in_ = len(frame.names)
                if hasattr(x, "columns"):
                    self.feature_names_in_ = np.array(frame.names, dtype=object)
            elif len(frame.names) != self.n_features_in_:
                raise UserError(
                    f"X has {len(frame.names)} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                    "features as input"
                )
            return frame
        names = [str(name) for name in x.columns] if hasattr(x, "columns") else None
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
        return {"f": f, "seed": self._seed, "evaluations": self.evaluations}

    def sample(self, X: Any, n: int | None = None, *, seed: int | None = None) -> np.ndarray:
        """Independent draws of each row's response, (N, n) for one and (N, n, R) for several responses or classes."""
        x, f = self._rows(X)
        how = {**self._how(f), "seed": self._seed if seed is None else seed}
        parts = list(self.predictor_.stream(x, n or self.n_samples, spread=False, **how))
        return _squeezed(self.pairing_.decode_responses(torch.cat(parts)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = not self._classify
        tags.target_tags.single_output = True
        return tags


class CARDRegressor(RegressorMixin, _CARD):
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
        if y is None:
            raise UserError("requires y to be passed, but the target y is None")
        names = [str(n) for n in y.columns] if hasattr(y, "columns") else None
        values = _numbers(y, X)
        self.single_ = values.ndim == 1
        values = values.reshape(len(values), -1)
        self._fit(X, values, _target_names(names, values.shape[1], getattr(y, "name", None)))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The mean response of each row: (N,) or (N, R)."""
        return self._shaped(self.predict_law(X).mean)

    def predict_law(self, X: Any, levels: Sequence[float] = QUANTILES, keep: bool = False) -> Prediction:
        """Mean, deviation and quantiles; with `keep` the draws."""
        x, f = self._rows(X)
        return self.predictor_.predict(x, samples=self.n_samples, levels=levels, keep=keep, **self._how(f))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """The central interval of each row: (N, 2) or (N, 2, R)."""
        if not 0 < coverage < 1:
            raise UserError(f"the coverage of an interval must lie between 0 and 1; got {coverage}")
        ends = ((1 - coverage) / 2, (1 + coverage) / 2)
        return _squeezed(self.predict_law(X, ends).quantiles, self.single_)

    def predict_quantiles(self, X: Any, levels: Sequence[float] = QUANTILES) -> np.ndarray:
        """Quantiles of each row's response: (N, Q) or (N, Q, R)."""
        return _squeezed(self.predict_law(X, levels).quantiles, self.single_)

    def predict_table(self, X: Any, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Any:
        """Mean, deviation and quantiles as a table of the kind that X is, its index kept; a dict of columns else."""
        law, columns = self.predict_law(X, levels), {}
        for r, name in enumerate(self.pairing_.targets):
            columns[f"{name}"] = law.mean[:, r]
            columns[f"{name}_sd"] = law.deviation[:, r]
            columns |= {f"{name}_q{100 * q:g}": law.quantiles[:, i, r] for i, q in enumerate(levels)}
        return _like(X, columns)

    def log_prob(self, X: Any, y: Any) -> np.ndarray:
        """log p(y | x) in nats, exact for the model: (N,)."""
        x, f = self._rows(X)
        values = np.asarray(y, np.float64).reshape(len(x), -1)
        return self.predictor_.log_prob(x, self.pairing_.encode_responses(values), f=f)

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        return values[:, 0] if self.single_ else values


class CARDClassifier(ClassifierMixin, _CARD):
    """Classification with the certainty of each decision; arguments as for `CARDRegressor`, `mean` a classifier."""

    _classify = True

    def fit(self, X: Any, y: Any) -> CARDClassifier:
        """Fit to features X (N, D) and classes y (N,)."""
        if y is None:
            raise UserError("requires y to be passed, but the target y is None")
        values = _classes(y, X)
        self.classes_, index = np.unique(values, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(f"Classifier can't train when only one class is present: all of y is {self.classes_[0]!r}")
        self._fit(X, np.array([f"{i:06d}" for i in index.reshape(-1)], dtype=np.str_)[:, None], ("class",))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row: (N,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(1)])

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
        given, known = np.asarray(y), {value: i for i, value in enumerate(self.classes_.tolist())}
        unknown = [value for value in given.tolist() if value not in known]
        if unknown:
            raise UserError(
                f"y has the class {unknown[0]!r}, which training never saw: it knew {', '.join(map(str, known))}"
            )
        place = np.array([known[value] for value in given.tolist()])
        return np.asarray(self.predict_log_proba(X)[np.arange(len(place)), place])


def _best(outcome: Any) -> Path:
    from pushforward.training.folder import checkpoint_path

    out = outcome.checkpoint.parent.parent
    return checkpoint_path(out, outcome.best.step) if outcome.best else cast(Path, outcome.checkpoint)


def _has_categories(x: Any) -> bool:
    """Whether some column is text. Numbers kept as objects count as numbers."""
    if isinstance(x, Frame):
        return True
    if hasattr(x, "columns") and not hasattr(x, "toarray"):
        return any(_is_text(np.asarray(x[name])) for name in x.columns)
    if not isinstance(x, np.ndarray | list | tuple):
        return False
    try:
        array = np.asarray(x)
    except ValueError:
        return False
    return array.ndim == 2 and _is_text(array)


def _is_text(array: np.ndarray) -> bool:
    if array.dtype.kind in "US":
        return True
    return array.dtype.kind == "O" and any(isinstance(value, str) for value in array.ravel()[:1000].tolist())


def _joined(frame: Frame, y: np.ndarray, targets: Sequence[str]) -> Frame:
    """Features and responses as one table; names of responses that features have are told apart."""
    names, columns, whole = list(frame.names), list(frame.columns), list(frame.whole)
    for i, target in enumerate(targets):
        names.append(target)
        column = y[:, i]
        columns.append(column)
        whole.append(column.dtype.kind == "f" and bool((column == np.round(column)).all()))
    return Frame("the table", tuple(names), tuple(columns), tuple(whole))


def _target_names(names: Sequence[str] | None, count: int, name: Any) -> tuple[str, ...]:
    if names:
        return tuple(f"{n} (response)" if n.startswith("x") and n[1:].isdigit() else n for n in names)
    return (
        (str(name),)
        if count == 1 and isinstance(name, str)
        else ("y",)
        if count == 1
        else tuple(f"y{i}" for i in range(count))
    )


def _numbers(y: Any, x: Any) -> np.ndarray:
    """Responses as float64, checked as scikit-learn does."""
    from sklearn.utils.validation import _check_y, check_consistent_length

    values = np.asarray(_check_y(y, multi_output=True, y_numeric=True), np.float64)
    if values.ndim == 2 and values.shape[1] == 1:
        from sklearn.utils.validation import column_or_1d

        values = column_or_1d(y, warn=True).astype(np.float64)
    if hasattr(x, "shape") or isinstance(x, list):
        check_consistent_length(x, values)
    return values


def _classes(y: Any, x: Any) -> np.ndarray:
    from sklearn.utils.validation import check_consistent_length, column_or_1d

    check_classification_targets(y)
    if type_of_target(y) in ("multilabel-indicator", "multiclass-multioutput"):
        raise UserError("Unknown label type: one class per row was expected, and y has several columns")
    values = column_or_1d(y, warn=True)
    if hasattr(x, "shape") or isinstance(x, list):
        check_consistent_length(x, values)
    return values


def _squeezed(values: np.ndarray, single: bool = True) -> np.ndarray:
    return values[..., 0] if single and values.shape[-1] == 1 else values


def _like(x: Any, columns: dict[str, np.ndarray]) -> Any:
    """A table of the type of x, with its index where it has one."""
    if not hasattr(x, "columns"):
        return columns
    index = getattr(x, "index", None)
    make = cast(Callable[..., Any], type(x))
    return make(columns) if index is None else make(columns, index=index)
