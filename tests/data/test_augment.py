"""Augmentations: pure functions of values and draws, each item by its own draws."""

import numpy as np
import pytest
import torch

from pushforward.data.augment import compose, horizontal_flip, of_batches, shift
from pushforward.data.dataset import Batch
from pushforward.errors import UserError
from pushforward.numerics.random import Draws


def images(count=400, side=6):
    return torch.randn(count, 2, side, side + 1, generator=torch.Generator().manual_seed(0))


def draws(count=400, seed=0):
    return Draws.of(seed, torch.arange(count))


@pytest.mark.parametrize("augmentation", [horizontal_flip, shift(2), compose(shift(1), horizontal_flip)])
def test_they_are_pure_and_per_item(augmentation):
    x = images()
    kept = x.clone()
    y = augmentation(x, draws())
    assert y.shape == x.shape and torch.equal(x, kept) and torch.equal(y, augmentation(x, draws()))
    assert torch.equal(augmentation(x[7:9], draws()[7:9]), y[7:9])
    assert not torch.equal(augmentation(x, draws(seed=1)), y)


def test_half_of_the_images_are_mirrored():
    x = images()
    y = horizontal_flip(x, draws())
    mirrored = (y == x.flip(-1)).flatten(1).all(1)
    assert (mirrored | (y == x).flatten(1).all(1)).all()
    assert abs(int(mirrored.sum()) - 200) < 50  # five standard deviations


def test_a_shift_moves_by_at_most_so_many_pixels_and_repeats_the_edge():
    x = images(300)
    y = shift(1)(x, draws(300))
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    seen = np.zeros((3, 3), int)
    for i in range(300):
        same = [
            (a, b)
            for a in range(3)
            for b in range(3)
            if np.array_equal(padded[i, :, a : a + 6, b : b + 7], y[i].numpy())
        ]
        assert len(same) == 1
        seen[same[0]] += 1
    assert seen.min() > 10  # each of nine offsets about 33 times
    assert torch.equal(shift(0)(x, draws(300)), x)


def test_batches_keep_their_labels():
    batch = Batch(images(4), torch.arange(4))
    out = of_batches(horizontal_flip)(batch, draws(4))
    assert torch.equal(out.values, horizontal_flip(batch.values, draws(4))) and out.labels is batch.labels


def test_vectors_and_negative_shifts_are_refused():
    with pytest.raises(UserError, match=r"A flip needs images, and items of shape \(3,\)"):
        horizontal_flip(torch.zeros(2, 3), draws(2))
    with pytest.raises(UserError, match="A shift needs images"):
        shift(1)(torch.zeros(2, 3), draws(2))
    with pytest.raises(UserError, match="shift of -1"):
        shift(-1)
