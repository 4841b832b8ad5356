"""Feature spaces and the independent classifier."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from pushforward.errors import UserError
from pushforward.metrics.classifier import Classifier
from pushforward.metrics.distances import energy_distance
from pushforward.metrics.features import PixelPCA, Raw, Standardised, default_features


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return train_test_split(x.reshape(-1, 1, 8, 8).astype(np.uint8), y, test_size=360, stratify=y, random_state=0)


def test_pixel_pca_spans_what_scikit_learn_finds(digits):
    train, test, _, _ = digits
    ours, theirs = PixelPCA.fit(train, 10), PCA(10, svd_solver="full").fit(train.reshape(len(train), -1))
    a, b = ours(test), theirs.transform(test.reshape(len(test), -1))
    scale = np.sqrt((theirs.transform(train.reshape(len(train), -1)) ** 2).mean())
    assert np.allclose(torch.cdist(a, a), torch.cdist(torch.from_numpy(b), torch.from_numpy(b)) / scale, atol=1e-6)
    assert ours.name == "pixel-pca10"
    assert float(ours(train).square().mean()) == pytest.approx(1)


def test_pixel_pca_of_more_pixels_than_items_keeps_all_distances():
    x = np.random.default_rng(0).normal(size=(12, 3, 5, 5))
    space = PixelPCA.fit(x)
    assert space.name == "pixel-pca11"
    a, b = space(x), torch.from_numpy(x.reshape(12, -1))
    ratio = torch.cdist(a, a)[0, 1:] / torch.cdist(b, b)[0, 1:]
    assert torch.allclose(ratio, ratio[0].expand(11))


def test_standardised_takes_out_the_units_and_keeps_constants():
    x = np.random.default_rng(0).normal(size=(50, 3)) * [1, 1000, 0] + [0, 5, 7]
    space = Standardised.fit(x)
    assert np.allclose(space(x).std(0), [1, 1, 0])
    assert float(space(np.array([[0.0, 5, 9]]))[0, 2]) == pytest.approx(2)
    assert space.name == "standardised3"


def test_defaults_and_raw():
    images, table = np.random.default_rng(0).normal(size=(20, 1, 3, 3)), np.ones((20, 3))
    assert default_features(images).name == "pixel-pca9"
    assert default_features(table).name == "standardised3"
    assert torch.equal(Raw()(table), torch.ones(20, 3).double())
    assert Raw().name == "raw"


def test_other_width_or_no_variation_is_refused():
    with pytest.raises(UserError, match="fitted on items of 3 values, but were given 4"):
        Standardised.fit(np.random.default_rng(0).normal(size=(9, 3)))(np.zeros((2, 4)))
    with pytest.raises(UserError, match="All training items are equal"):
        PixelPCA.fit(np.ones((5, 1, 2, 2)))


def test_classifier_reads_real_digits_and_tolerates_a_little_noise(digits):
    train, test, train_labels, test_labels = digits
    judge = Classifier.fit(train, train_labels)
    assert judge.accuracy(test, test_labels) >= 0.97
    noisy = test + np.random.default_rng(0).normal(size=test.shape)
    assert judge.accuracy(noisy, test_labels) >= 0.95
    assert judge.accuracy(test, np.roll(test_labels, 1)) < 0.3
    assert np.array_equal(judge.predict(test), Classifier.fit(train, train_labels).predict(test))


def test_classifier_margins_are_features(digits):
    train, test, train_labels, test_labels = digits
    judge = Classifier.fit(train[:400], train_labels[:400])
    margins = judge(test)
    assert margins.shape == (360, 10)
    assert (margins.argmax(1).numpy() == judge.predict(test)).mean() > 0.99
    assert energy_distance(margins, judge(train[400:760])) < energy_distance(margins, judge(test[test_labels < 5]))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros(5, dtype=int), "at least two classes"),
        (np.zeros(4, dtype=int), "must be 5 integers"),
        (torch.zeros(5), "must be 5 integers"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, says):
    with pytest.raises(UserError, match=says):
        Classifier.fit(np.random.default_rng(0).normal(size=(5, 2)), labels)


def test_two_classes_give_one_margin():
    x = np.concatenate((np.zeros((10, 2)), np.ones((10, 2))))
    judge = Classifier.fit(x, np.repeat([3, 7], 10))
    assert judge.predict(np.array([[0.1, 0.1], [0.9, 0.9]])).tolist() == [3, 7]
    assert judge(x).shape == (20, 1)
