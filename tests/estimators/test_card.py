"""The estimators in scikit-learn's world: its checks, pipelines, searches, tables, and what they refuse."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import estimator_checks_generator

from pushforward import CARDClassifier, CARDRegressor
from pushforward.card.learners import Perceptrons
from pushforward.card.means import Stacked
from pushforward.data.splits import split
from pushforward.errors import UserError
from pushforward.estimators import Conformal, Published, Usual
from pushforward.metrics.coverage import picp
from pushforward.models.predictor import Predictor
from pushforward.training import Recipe

QUICK = Usual(width=16, depth=1, batch_size=16, dropout=0.0, folds=2)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3))
Y = X[:, 0] + 0.3 * np.abs(X[:, 1]) * RNG.normal(size=80)


def regressor(**given):
    usual = {"mean": LinearRegression(), "setting": QUICK, "steps": 10, "n_samples": 16, "evaluations": 5}
    return CARDRegressor(**{**usual, **given})


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


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "predict_certainty"])
def test_a_classifier_that_was_not_fitted_says_so(method):
    with pytest.raises(NotFittedError):
        getattr(classifier(), method)(X)
    with pytest.raises(NotFittedError):
        classifier().log_prob(X, np.zeros(len(X)))


def test_no_rows_are_refused():
    for estimator in (regressor(), classifier()):
        with pytest.raises(ValueError, match="0 sample"):
            estimator.fit(np.empty((0, 3)), [])


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


def test_one_seed_settles_the_regression_in_a_pipeline_too():
    mean = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_features=1, max_depth=3))
    one, two = (regressor(mean=mean, steps=1).fit(X, Y).predict(X) for _ in range(2))
    assert np.array_equal(one, two)


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
    with pytest.raises(UserError, match="probabilities that sum to 1"):
        CARDClassifier(lambda rows: rows[:, :2], QUICK).fit(X, Y > 0)


def test_categories_and_tables_come_and_go():
    kind = np.where(X[:, 1] > 0, "warm", "cold")
    table = Table({"a": X[:, 0], "kind": kind}, index=np.arange(80) + 100)
    model = CARDRegressor(None, QUICK, steps=10, n_samples=16, evaluations=4).fit(table, Y + 3 * (kind == "warm"))
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
    frame["kind"] = frame["kind"].astype("category")
    price = pandas.Series(Y + 3 * (frame["kind"] == "warm"), name="price")
    model = CARDRegressor(None, QUICK, steps=10, n_samples=16, evaluations=4).fit(frame, price)
    out = model.predict_table(frame)
    assert isinstance(out, pandas.DataFrame) and out.index.equals(frame.index)
    assert list(out) == ["price", "price_sd", "price_q5", "price_q50", "price_q95"]
    assert out["price"].to_numpy() == pytest.approx(model.predict(frame[["kind", "a"]]), abs=1e-5)  # found by name
    with pytest.raises(UserError, match=r"'a' \(1 row, first 0\)"):
        model.predict(pandas.DataFrame({"a": pandas.array([None, 1], "Int64"), "kind": ["warm", "cold"]}))
    both = pandas.DataFrame({"a": Y, "b": -Y}, index=frame.index)
    law = regressor().fit(frame[["a"]], both)
    assert list(law.predict_table(frame[["a"]]))[::5] == ["a (response)", "b"]


def test_a_missing_value_of_pandas_is_no_category():
    class NA:
        def __repr__(self):
            return "<NA>"

    table = Table({"a": np.array([1, NA(), 3] * 10, dtype=object), "kind": np.array(["u", "v", "w"] * 10)})
    with pytest.raises(UserError, match=r"'a' \(10 rows, first 1\)"):
        regressor().fit(table, Y[:30])


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


def test_a_column_with_the_name_of_the_response_is_a_feature():
    noise, kind = RNG.permutation(Y), np.where(X[:, 1] > 0, "warm", "cold")
    table = Table({"a": X[:, 0], "y": noise, "kind": kind})
    model = regressor(mean=None).fit(table, Y)
    assert np.corrcoef(model.predict(table), X[:, 0])[0, 1] > 0.8
    assert model.pairing_.targets == ("y (response)",)
    table = Table({"a": X[:, 0], "class": noise, "kind": kind})
    decided = CARDClassifier(None, QUICK, steps=100, n_samples=16, evaluations=5)
    assert (
        decided.fit(table, np.where(X[:, 0] > 0, "up", "down")).score(table, np.where(X[:, 0] > 0, "up", "down")) > 0.8
    )


def test_one_seed_is_settled_for_each_fit():
    model = regressor(random_state=np.random.RandomState(3)).fit(X, Y)
    first = model.predict(X)
    assert np.array_equal(model.predict(X), first)
    assert np.array_equal(model.set_params(random_state=8).predict(X), first)  # that of the next fit
    assert not np.allclose(model.fit(X, Y).predict(X), first)
    seeds = {clone(model).set_params(random_state=None).fit(X[:9], Y[:9]).seed_ for _ in range(2)}
    assert len(seeds) == 2
    with pytest.raises(UserError, match="random_state is 'x'"):
        regressor(random_state="x").fit(X, Y)


def test_a_fit_leaves_nothing_in_the_regression_it_was_given():
    mean = Stacked(3, 1, False, [Perceptrons((4,), smooth=True, epochs=5)], folds=2)
    model = CARDRegressor(mean, QUICK, steps=2, n_samples=4, evaluations=4)
    up, down = (model.fit(X, sign * X[:, 0]).predict(X) for sign in (1, -1))
    assert not bool(mean.fitted)
    assert np.corrcoef(up, down)[0, 1] < -0.5


def test_a_temperature_is_fitted_to_what_f_says_of_rows_it_has_not_seen(monkeypatch):
    asked = []
    stream = Predictor.stream
    monkeypatch.setattr(Predictor, "stream", lambda *a, **how: asked.append((a[1], how["f"])) or stream(*a, **how))
    remembers = DecisionTreeClassifier(random_state=0)
    labels = RNG.integers(0, 2, 120)
    model = CARDClassifier(remembers, QUICK, steps=5, n_samples=4, evaluations=4, validation=0.5)
    rows = RNG.normal(size=(120, 3))
    model.fit(rows, labels)
    (x, f), *_ = asked
    place = {tuple(row): i for i, row in enumerate(model._rows(rows)[0].tolist())}
    own = labels[[place[tuple(row)] for row in x.tolist()]]
    assert len(x) == 60 and (f.argmax(1).numpy() == own).mean() < 0.75  # a part that has seen them is always right


def test_quantiles_that_so_few_draws_do_not_reach_are_refused():
    model = regressor(n_samples=8).fit(X, Y)
    with pytest.raises(UserError, match=r"0\.05 needs at least 10 draws of each row; there are 8"):
        model.predict_interval(X, 0.9)
    with pytest.raises(UserError, match="between 0 and 1"):
        model.predict_quantiles(X, (0.5, 1.0))
    with pytest.raises(UserError, match=r"y has the shape \(160,\), and 1 finite response"):
        model.log_prob(X, np.concatenate((Y, Y)))


def test_the_published_setting_is_the_papers_optimiser_and_runs_its_own_chain():
    setting = Published(epochs=1, levels=30, last_beta=0.4)
    told = Recipe(**setting.recipe(64))
    assert (told.amsgrad, told.ema_decays, told.ema_lengths, told.clip_norm) == (True, (0.9999,), (), 1.0)
    model = CARDRegressor(LinearRegression(), setting, n_samples=8).fit(X, Y)
    assert model.predictor_.card.published and model.n_steps_ == 3
    assert np.isfinite(model.predict(X)).all()


def test_an_interrupted_fit_continues_in_its_folder(tmp_path):
    first = regressor(folder=tmp_path / "run").fit(X, Y)
    again = regressor(folder=tmp_path / "run").fit(X, Y)
    assert again.predict(X[:4]) == pytest.approx(first.predict(X[:4]), abs=1e-6)
    for other, said in (((X, -Y), "data was"), ((X + 1, Y), "data was")):
        with pytest.raises(UserError, match=said):
            regressor(folder=tmp_path / "run").fit(*other)
    with pytest.raises(UserError, match="mean was 'LinearRegression"):
        regressor(mean=Ridge(), folder=tmp_path / "run").fit(X, Y)


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


def test_rows_of_rare_classes_are_held_out_like_all_others():
    """Held out class by class, the single rows would all be fitted to, and new ones not be covered."""
    labels = np.array([f"{i:02d}" for i in range(40)] + ["many"] * 40)
    seen = []

    class Recorder(CARDClassifier):
        def fit(self, X, y):
            seen.append(y)
            return super().fit(X, y)

    base = Recorder(lambda x: np.full((len(x), 40), 1 / 40), QUICK, steps=1, n_samples=4)
    with pytest.raises(UserError, match="was expected"):
        Conformal(base, coverage=0.8, calibration=0.25).fit(X, labels)
    assert 0.1 < 1 - np.mean(seen[0] != "many") * len(seen[0]) / 40 < 0.5


def test_conformal_says_at_once_what_it_cannot_make_certain():
    with pytest.raises(UserError, match=r"Pipeline predicts no intervals .* Conformal\(CARDRegressor\(\)\)"):
        Conformal(make_pipeline(StandardScaler(), regressor())).fit(X, Y)
    with pytest.raises(UserError, match="one response is made certain at a time"):
        Conformal(regressor()).fit(X, np.stack((Y, Y), 1))
    column = Conformal(regressor(), coverage=0.5, calibration=0.5).fit(X, Y[:, None])
    assert column.offset_ == Conformal(regressor(), coverage=0.5, calibration=0.5).fit(X, Y).offset_


def test_classes_keep_their_type_and_each_row_needs_one():
    pandas = pytest.importorskip("pandas")
    for values, dtype in ((X[:, 0] > 0, "boolean"), ((X[:, 0] > 0).astype(int), "Int64")):
        model = classifier(steps=2).fit(X, pandas.Series(values, dtype=dtype))
        assert model.predict(X).dtype == values.dtype
    with pytest.raises(UserError, match="no class in row 1"):
        classifier().fit(X[:4], pandas.Series([True, None, False, True], dtype="boolean"))


def test_what_responses_cannot_be_is_said_in_a_sentence():
    with pytest.raises(UserError, match="y holds texts or dates, and numbers were expected"):
        regressor().fit(X, np.where(Y > 0, "a", "b"))
    for missing in (None, np.nan):
        with pytest.raises(UserError, match="no class in row 3"):
            classifier().fit(X[:4], np.array(["a", "b", "a", missing], dtype=object))
    model = classifier(steps=2).fit(X, Y > 0)
    assert model.log_prob(X[:2], (Y > 0)[:2]).shape == (2,)
    with pytest.raises(UserError, match="y has 1 classes for 2 rows"):
        model.log_prob(X[:2], [True])


def test_features_that_are_no_features_are_refused():
    table = Table({"a": X[:, 0], "day": np.arange(80).astype("datetime64[D]")})
    with pytest.raises(UserError, match="'day' of X holds dates"):
        regressor().fit(table, Y)
    pandas = pytest.importorskip("pandas")
    twice = pandas.DataFrame(X, columns=["a", "a", "b"])
    with pytest.raises(UserError, match="column name 'a' 2 times"):
        regressor().fit(twice, Y)
    model = regressor(steps=1).fit(X, Y)
    with pytest.raises(UserError, match=r"X has 1e\+300 in the column 'x0'"):
        model.predict(np.array([[1e300, 0, 0]]))


def test_categories_of_pandas_may_be_numbers():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "k": pandas.Categorical([7, 3] * 40)})
    model = regressor(steps=1).fit(frame, Y)
    assert model.pairing_.features[1].categories == ("3", "7")
    assert np.array_equal(model.predict(frame), model.predict(frame.assign(k=[7, 3] * 40)))


def test_a_class_that_is_only_among_the_rows_held_out_has_no_probability():
    labels = np.where(X[:, 0] > 0, "a", "c")
    labels[next(iter(split(80, None, 0.625, 0.0, 0)[1]))] = "b"
    model = Conformal(classifier(steps=2), coverage=0.98, calibration=0.625).fit(X, labels)
    assert "b" not in model.estimator_.classes_ and model.offset_ == 1.0
    with pytest.raises(UserError, match="needs at least 99 rows held out"):
        Conformal(classifier(), coverage=0.99).fit(X, labels)


def test_constant_and_single_responses_and_too_few_rows_are_refused():
    with pytest.raises(UserError, match="constant"):
        regressor().fit(X, np.ones(80))
    with pytest.raises(UserError, match="only one class"):
        classifier().fit(X, np.ones(80))
    with pytest.raises(UserError, match=r"setting is 'published': give Usual\(…\) or Published\(…\)"):
        CARDRegressor(None, "published").fit(X, Y)
    with pytest.raises(UserError, match="at least 5 are needed"):
        regressor().fit(X[:3], Y[:3])


class Lazy:
    """As a lazy frame of polars: columns with names, and no values."""

    columns = ("a", "b", "c")

    def collect(self):
        raise AssertionError("values were asked for")


def test_a_lazy_frame_has_to_be_collected():
    for make in (regressor, lambda **given: Conformal(regressor(**given))):
        with pytest.raises(UserError, match=r"X\.collect"):
            make(steps=2).fit(Lazy(), Y)
        with pytest.raises(UserError, match=r"y\.collect"):
            make(steps=2).fit(X, Lazy())
    with pytest.raises(UserError, match=r"y\.collect"):
        classifier().fit(X, Lazy())


def test_frames_of_polars_are_taken_and_given_back():
    polars = pytest.importorskip("polars")
    codes = np.where(X[:, 1] > 0, "01", "2")
    frame = polars.DataFrame({"a": X[:, 0], "kind": codes}).with_columns(polars.col("kind").cast(polars.Categorical))
    price = polars.Series("price", Y + 3 * (frame["kind"] == "01").to_numpy())
    model = regressor(steps=2).fit(frame, price)
    assert model.pairing_.features[1].categories == ("01", "2")
    out = model.predict_table(frame[:5])
    assert isinstance(out, polars.DataFrame) and out.columns[0] == "price" and len(out) == 5
    assert np.array_equal(out["price"].to_numpy(), model.predict(frame[:5]))
    with pytest.raises(UserError, match="kind"):
        model.predict(frame.with_columns(polars.lit(None).alias("kind")))
