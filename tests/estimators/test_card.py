"""The estimators in scikit-learn's world: its checks, pipelines, searches, tables, and what they refuse."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from pushforward import CARDClassifier, CARDRegressor
from pushforward.errors import UserError
from pushforward.estimators import Conformal, Published, Usual
from pushforward.metrics.coverage import picp

QUICK = Usual(width=16, depth=1, batch_size=16, dropout=0.0, folds=2)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3))
Y = X[:, 0] + 0.3 * np.abs(X[:, 1]) * RNG.normal(size=80)


def regressor(**given):
    return CARDRegressor(LinearRegression(), QUICK, **{"steps": 10, "n_samples": 16, "evaluations": 5, **given})


def classifier(**given):
    return CARDClassifier(LogisticRegression(), QUICK, **{"steps": 30, "n_samples": 16, "evaluations": 5, **given})


class Table(dict):
    """As much of a data frame as is asked for."""

    def __init__(self, columns, index=None):
        super().__init__(columns)
        self.index = index if index is not None else np.arange(len(next(iter(columns.values()))))

    @property
    def columns(self):
        return list(self)

    def __len__(self):
        return len(next(iter(self.values())))


CHECKS = [
    pair
    for estimator in (regressor(n_samples=8, evaluations=4), classifier(n_samples=32, steps=60))
    for pair in estimator_checks_generator(estimator)
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "check"), CHECKS, ids=[f"{type(e).__name__}-{i}" for i, (e, _) in enumerate(CHECKS)]
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_fitted_regressor_says_all_it_knows():
    model = regressor(steps=40).fit(X, Y)
    assert model.predict(X).shape == (80,) and model.score(X, Y) > 0.5
    ends = model.predict_interval(X, 0.8)
    assert ends.shape == (80, 2) and (ends[:, 0] < ends[:, 1]).all()
    assert model.predict_quantiles(X, (0.1, 0.9)) == pytest.approx(ends)
    drawn = model.sample(X, 7)
    assert drawn.shape == (80, 7)
    assert model.sample(X[[5]], 7) == pytest.approx(drawn[[5]], abs=1e-4)
    assert not np.allclose(model.sample(X, 7, seed=9), drawn)
    assert np.isfinite(model.log_prob(X, Y)).all()
    assert 0.5 < picp(Y, model.sample(X, 50), 0.9) <= 1
    again = pickle.loads(pickle.dumps(model))
    assert again.predict(X[:3]) == pytest.approx(model.predict(X[:3]), abs=1e-5)


def test_several_responses_and_the_regression_that_is_chosen():
    both = np.stack((Y, -2 * X[:, 2]), 1)
    model = CARDRegressor(None, QUICK, steps=10, n_samples=16, evaluations=5).fit(X, both)
    assert model.predict(X).shape == (80, 2) and model.predict_interval(X).shape == (80, 2, 2)
    assert model.log_prob(X, both).shape == (80,)
    assert np.corrcoef(model.predict(X)[:, 1], both[:, 1])[0, 1] > 0.9


def test_a_callable_is_the_regression_as_it_is():
    seen = []

    def f(rows):
        seen.append(rows.shape)
        return rows[:, 0]

    model = CARDRegressor(f, QUICK, steps=10, n_samples=16, evaluations=5).fit(X, Y)
    assert model.predict(X) == pytest.approx(X[:, 0], abs=1.0) and seen[0] == (80, 3)
    with pytest.raises(UserError, match="estimator or a callable"):
        CARDRegressor(3, QUICK).fit(X, Y)
    with pytest.raises(UserError, match="was expected"):
        CARDRegressor(lambda rows: rows[:, :2], QUICK).fit(X, Y)


def test_categories_and_tables_come_and_go():
    kind = np.where(X[:, 1] > 0, "warm", "cold")
    table = Table({"a": X[:, 0], "kind": kind}, index=np.arange(80) + 100)
    model = CARDRegressor(None, QUICK, steps=10, n_samples=8, evaluations=4).fit(table, Y + 3 * (kind == "warm"))
    assert list(model.feature_names_in_) == ["a", "kind"]
    predicted = model.predict(table)
    assert predicted[kind == "warm"].mean() - predicted[kind == "cold"].mean() > 1.5
    out = model.predict_table(table)
    assert isinstance(out, Table) and list(out.index) == list(range(100, 180))
    assert list(out) == ["y", "y_sd", "y_q5", "y_q50", "y_q95"]
    with pytest.raises(UserError, match=r"'kind' of X has the category 'hot' that training never saw"):
        model.predict(Table({"a": [0.0], "kind": np.array(["hot"])}))
    with pytest.raises(UserError, match="no column 'kind'"):
        model.predict(Table({"a": np.array([0.0]), "sort": np.array(["warm"])}))
    with pytest.raises(UserError, match="'kind' \\(1 row, first 1\\)"):
        model.predict(Table({"a": np.zeros(2), "kind": np.array(["warm", None], dtype=object)}))


def test_real_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "kind": np.where(X[:, 1] > 0, "warm", "cold")}, index=range(100, 180))
    model = CARDRegressor(None, QUICK, steps=10, n_samples=8, evaluations=4).fit(frame, pandas.Series(Y, name="price"))
    out = model.predict_table(frame)
    assert isinstance(out, pandas.DataFrame) and list(out.index) == list(range(100, 180)) and "price_sd" in out


def test_missing_values_are_refused_with_their_columns():
    broken = X.copy()
    broken[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"missing \(NaN\) or infinity in the columns 'x2' \(1 row, first 4\)"):
        regressor().fit(broken, Y)


def test_pipelines_and_searches():
    chain = make_pipeline(StandardScaler(), regressor())
    assert chain.fit(X, Y).predict(X).shape == (80,)
    search = GridSearchCV(regressor(), {"n_samples": [4, 8]}, cv=2).fit(X, Y)
    assert search.best_params_["n_samples"] in (4, 8)
    assert clone(regressor(steps=3)).get_params()["steps"] == 3


def test_a_classifier_says_how_sure_it_is():
    labels = np.array(["no", "yes", "maybe"])[(X[:, 0] > -0.5).astype(int) + (X[:, 0] > 0.7)]
    model = classifier(steps=200).fit(X, labels)
    p = model.predict_proba(X)
    assert p.sum(1) == pytest.approx(np.ones(80)) and list(model.classes_) == ["maybe", "no", "yes"]
    assert model.score(X, labels) > 0.8
    said = model.predict_certainty(X)
    assert said.votes.sum(1) == pytest.approx(np.ones(80)) and ((said.p_values >= 0) & (said.p_values <= 1)).all()
    assert model.sample(X, 4).shape == (80, 4, 3)
    assert model.log_prob(X, labels).max() <= 0
    with pytest.raises(UserError, match="class 'never', which training never saw"):
        model.log_prob(X[:1], ["never"])


def test_the_published_setting_runs_its_own_chain():
    setting = Published(epochs=1, levels=30, last_beta=0.4)
    model = CARDRegressor(LinearRegression(), setting, n_samples=8).fit(X, Y)
    assert model.predictor_.card.published and model.n_steps_ == 3
    assert np.isfinite(model.predict(X)).all()


def test_an_interrupted_fit_continues_in_its_folder(tmp_path):
    first = regressor(folder=tmp_path / "run").fit(X, Y)
    again = regressor(folder=tmp_path / "run").fit(X, Y)
    assert again.predict(X[:4]) == pytest.approx(first.predict(X[:4]), abs=1e-6)


@pytest.mark.parametrize("classes", [False, True])
def test_conformal_coverage(classes):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 2))
    y = (x[:, 0] + rng.normal(size=300) > 0).astype(int) if classes else x[:, 0] + rng.standard_t(3, 300)
    base = classifier(steps=60) if classes else regressor()
    model = Conformal(base, coverage=0.8, calibration=0.5).fit(x[:200], y[:200])
    if classes:
        covered = model.predict_set(x[200:])[np.arange(100), y[200:]]
    else:
        low, high = model.predict_interval(x[200:]).T
        covered = (low <= y[200:]) & (y[200:] <= high)
    assert covered.mean() >= 0.8 - 3 * np.sqrt(0.16 / 100 + 0.16 / 100)


def test_constant_and_single_responses_and_too_few_rows_are_refused():
    with pytest.raises(UserError, match="constant"):
        regressor().fit(X, np.ones(80))
    with pytest.raises(UserError, match="only one class"):
        classifier().fit(X, np.ones(80))
    with pytest.raises(UserError, match="at least 5 are needed"):
        regressor().fit(X[:3], Y[:3])
