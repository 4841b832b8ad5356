"""The evaluation as a whole, on real digits: data like the data, and four ways of not being like them."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from pushforward.errors import UserError
from pushforward.metrics.evaluate import evaluate_samples
from pushforward.metrics.features import Raw


@pytest.fixture(scope="module")
def splits():
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 1, 8, 8).astype(np.uint8)
    rest, test, rest_labels, test_labels = train_test_split(x, y, test_size=360, stratify=y, random_state=0)
    train, fresh, labels, fresh_labels = train_test_split(
        rest, rest_labels, test_size=0.5, stratify=rest_labels, random_state=0
    )
    return {"train": train, "test": test, "train_labels": labels, "test_labels": test_labels}, fresh, fresh_labels


def test_real_data_reach_every_target_and_stay_near_their_floors(splits):
    data, fresh, labels = splits
    found = evaluate_samples(fresh, labels, **data)
    assert all(row.reached is not False for row in found)
    for row in found:
        spread = max(row.sd or 0, row.floor_sd or 0)
        assert abs(row.value - row.floor) < 4 * spread, row
    assert found["FD"].name == "FD[pixel-pca48]"
    assert found.n == len(data["train"]) // 2
    assert found.n_test == 360


def test_the_same_seed_gives_the_same_numbers(splits):
    data, fresh, labels = splits
    one, two = (evaluate_samples(fresh, labels, **data, seed=1, floors=2) for _ in range(2))
    assert one == two
    assert evaluate_samples(fresh, labels, **data, seed=2, floors=2) != one


def test_a_gaussian_of_the_same_moments_is_exposed_by_neighbours_and_resembles_the_control(splits):
    data, _, _ = splits
    flat = data["train"].reshape(len(data["train"]), -1).astype(float)
    fake = np.random.default_rng(0).multivariate_normal(flat.mean(0), np.cov(flat.T), 400).reshape(-1, 1, 8, 8)
    found = evaluate_samples(fake, None, **data)
    for name in ("precision", "density", "coverage"):
        row = found[name]
        assert row.value < 0.7 * row.floor
        assert abs(row.value - row.control) < 0.15
    assert found["label imbalance"].value > 3 * found["label imbalance"].floor


def test_noise_a_missing_class_and_copies_are_each_seen(splits):
    data, fresh, labels = splits
    noise = np.random.default_rng(0).integers(0, 17, size=fresh.shape)
    noisy = evaluate_samples(noise, labels, **data, floors=2)
    assert [noisy[k].reached for k in ("FD", "MMD²", "label accuracy")] == [False, False, False]
    missing = evaluate_samples(fresh[labels < 6], None, **data, floors=2)
    assert missing["FD"].value > 2 * missing["FD"].floor
    assert missing["label imbalance"].value == pytest.approx(0.4, abs=0.03)
    copies = evaluate_samples(data["train"], data["train_labels"], **data, floors=2)
    assert copies["near copies"].value == 1
    assert copies["near copies"].reached is False


def test_wrong_labels_are_seen(splits):
    data, fresh, labels = splits
    assert evaluate_samples(fresh, np.roll(labels, 1), **data, floors=2)["label accuracy"].value < 0.3


def test_tables_without_labels(splits):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 3)) * [1, 100, 0.01]
    found = evaluate_samples(table[:100], None, table[100:200], table[200:], floors=3)
    assert found.features == "standardised3"
    assert [row.name.partition("[")[0] for row in found] == [
        *("FD", "MMD²", "SW₂", "energy", "precision", "recall", "density", "coverage", "near copies")
    ]
    assert found["FD"].reached
    raw = evaluate_samples(table[:100], None, table[100:200], table[200:], floors=2, features=Raw())
    assert raw["FD[raw]"].value > 100 * found["FD"].value
    one_class = evaluate_samples(
        table[:100], None, table[100:200], table[200:], np.zeros(100, dtype=int), None, floors=2
    )
    assert len(one_class.rows) == len(found.rows)


def test_columns_of_large_numbers_do_not_hide_copies_or_classes():
    """Two classes told apart by a column of small numbers, beside one of large numbers that says nothing."""
    rng = np.random.default_rng(0)

    def draw(count):
        labels = rng.integers(0, 2, count)
        small = np.stack([labels + 0.1 * rng.normal(size=count), 0.1 * rng.normal(size=count)], 1)
        return np.column_stack([small, 1e6 * rng.normal(size=count)]), labels

    (train, train_labels), (test, test_labels) = draw(300), draw(200)
    fresh, fresh_labels = draw(200)
    found = evaluate_samples(fresh, fresh_labels, train, test, train_labels, test_labels, floors=2)
    assert found["label accuracy"].value > 0.98 and found["label accuracy"].floor > 0.98
    assert found["near copies"].name == "near copies[standardised3]" and found["near copies"].reached
    # copies of training items with the loud column moved by a thousandth of its deviation
    copies = train + np.array([0, 0, 1e3])
    found = evaluate_samples(copies, train_labels, train, test, train_labels, test_labels, floors=2)
    assert found["near copies"].value > 0.95 and found["near copies"].reached is False


def test_a_tenth_of_near_copies_is_the_most_unless_the_data_repeat_themselves(splits):
    data, fresh, labels = splits
    assert evaluate_samples(fresh, labels, **data, floors=2)["near copies"].target == 0.10
    few = np.repeat(np.arange(12.0).reshape(6, 2) ** 2, 20, axis=0)
    repeated = evaluate_samples(few, None, few, few, floors=2)["near copies"]
    assert repeated.floor == 1 and repeated.target == 1 and repeated.reached


def test_the_evaluation_is_json(splits):
    data, fresh, labels = splits
    stored = json.loads(json.dumps(evaluate_samples(fresh[:60], labels[:60], **data, floors=2).to_dict()))
    assert stored["n"] == 60
    assert stored["rows"][0]["name"] == "FD[pixel-pca48]"
    assert {"value", "floor", "sd", "floor_sd", "control", "meaning", "good", "target", "reached", "n"} <= set(
        stored["rows"][0]
    )


def test_an_unknown_row_is_a_key_error(splits):
    data, fresh, labels = splits
    with pytest.raises(KeyError, match="FID"):
        evaluate_samples(fresh[:40], labels[:40], **data, floors=2)["FID"]


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.full((40, 1, 8, 8), np.nan), "40 of 40 samples hold NaN"),
        (np.zeros((5, 1, 8, 8)), "at least 20 samples, but was given 5"),
        (np.zeros((40, 1, 4, 4)), r"one kind, but have the shapes \(40, 1, 4, 4\)"),
    ],
)
def test_samples_that_cannot_be_scored_are_refused_in_one_sentence(splits, samples, says):
    data, _, _ = splits
    with pytest.raises(UserError, match=says) as caught:
        evaluate_samples(samples, None, **data)
    assert "\n" not in str(caught.value)
