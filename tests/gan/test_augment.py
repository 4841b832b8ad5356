"""Augmentation: what each change does, that it is counted, that gradients pass it, and that it can be undone in law."""

from __future__ import annotations

import pytest
import torch

from pushforward.errors import UserError
from pushforward.gan import (
    Brightness,
    Contrast,
    Cutout,
    Saturation,
    Sometimes,
    Translation,
    in_turn,
    nothing,
    small_data,
)
from pushforward.numerics.random import Draws

CHANGES = (Brightness(), Contrast(), Saturation(), Translation(), Cutout(), Sometimes(Brightness(), 0.5))
DRAWS = Draws.of(0, range(400), "augment")


def named(change):
    """A name that is the same in every process."""
    return change.__name__ if hasattr(change, "__name__") else str(change)


def images(count=400, shape=(3, 8, 6)):
    return Draws.of(1, range(count), "images").uniform(shape, torch.float64) + 0.1


@pytest.mark.parametrize("change", [*CHANGES, small_data((3, 8, 6)), nothing], ids=named)
def test_each_item_has_its_own_counted_change(change):
    x = images()
    whole = change(x, DRAWS)
    assert whole.shape == x.shape and torch.equal(whole, change(x, DRAWS))
    alone = torch.cat([change(x[i : i + 1], DRAWS[i : i + 1]) for i in range(20)])
    assert torch.allclose(alone, whole[:20])
    if change is not nothing:
        assert not torch.allclose(whole, change(x, DRAWS.at("other")))


@pytest.mark.parametrize("change", [*CHANGES, small_data((3, 8, 6))], ids=named)
def test_gradients_pass(change):
    """Every change is linear or affine in each item: the derivative along a direction is a difference quotient."""
    x = images(6).requires_grad_()
    direction = DRAWS[:6].at("direction").normal(x.shape[1:], torch.float64)
    [gradient] = torch.autograd.grad(change(x, DRAWS[:6]).square().sum(), x)
    ahead, behind = (change(x.detach() + s * 1e-5 * direction, DRAWS[:6]).square().sum() for s in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-4)


def test_light_and_contrast_are_what_they_say():
    x = images()
    added = Brightness(0.4)(x, DRAWS) - x
    assert torch.allclose(added, added[:, :1, :1, :1].expand_as(x))
    assert added.amin() > -0.4 and added.amax() < 0.4 and abs(float(added.mean())) < 0.05
    scaled = Contrast(0.5)(x, DRAWS)
    assert torch.allclose(scaled.mean((1, 2, 3)), x.mean((1, 2, 3)))
    ratio = scaled.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 < ratio.min() < 0.6 and 1.4 < ratio.max() < 1.5
    coloured = Saturation(1.0)(x, DRAWS)
    assert torch.allclose(coloured.mean(1), x.mean(1))
    assert torch.allclose(Saturation()(x[:, :1], DRAWS), x[:, :1])


def test_translation_moves_whole_pixels_and_brings_in_zeros():
    x = images(400, (2, 8, 8))
    moved = Translation(0.25)(x, DRAWS)
    seen = set()
    for item, result in zip(x, moved, strict=True):
        found = None
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                expected = torch.zeros_like(item)
                rows, columns = slice(max(0, -dy), 8 - max(0, dy)), slice(max(0, -dx), 8 - max(0, dx))
                source = item[:, max(0, dy) : 8 + min(0, dy), max(0, dx) : 8 + min(0, dx)]
                expected[:, rows, columns] = source
                if torch.equal(expected, result):
                    found = (dy, dx)
        assert found is not None
        seen.add(found)
    assert len(seen) == 25


def test_cutout_zeroes_one_rectangle():
    x = images()
    cut = Cutout(0.5)(x, DRAWS)
    hole = (cut == 0).all(1)
    assert torch.equal(torch.where(hole[:, None], torch.zeros_like(x), x), cut)
    heights, widths = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), heights * widths)  # a rectangle and nothing else
    assert heights.max() == 4 and widths.max() == 3 and heights.min() >= 2


def test_a_share_of_the_items_is_changed():
    x = images(400)
    changed = (Sometimes(Brightness(), 0.3)(x, DRAWS) != x).any(3).any(2).any(1).double().mean()
    assert 0.2 < float(changed) < 0.4
    assert torch.equal(Sometimes(Brightness(), 0.0)(x, DRAWS), x)
    assert not torch.equal(Sometimes(Brightness(), 1.0)(x, DRAWS)[:, 0, 0, 0], x[:, 0, 0, 0])


def test_changes_in_turn_are_drawn_apart():
    x = torch.zeros(400, 1, 2, 2, dtype=torch.float64)
    twice = in_turn((Brightness(0.5), Brightness(0.5)))(x, DRAWS)[:, 0, 0, 0]
    # Two independent uniforms have a variance of 1/6 where one doubled would have 1/3.
    assert float(twice.var()) == pytest.approx(1 / 6, rel=0.15)


def test_vectors_have_no_small_data_changes_and_pictures_only_are_moved():
    assert small_data((5,)) is nothing
    for change in (Translation(), Cutout(), Contrast(), Saturation()):
        with pytest.raises(UserError, match="for images"):
            change(torch.zeros(3, 5), DRAWS[:3])
    with pytest.raises(UserError, match="probability"):
        Sometimes(Brightness(), 1.5)
