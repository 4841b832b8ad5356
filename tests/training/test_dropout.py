"""Counted dropout: right on average, and the same for an item in any batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward.errors import UserError
from pushforward.numerics.dropout import Dropout, counted, number_dropouts, uncounted_dropout
from pushforward.numerics.random import Draws


def test_mean_is_kept_and_the_share_is_right():
    layer = Dropout(0.3)
    with counted(Draws.of(0, range(64), "d")):
        y = layer(torch.ones(64, 1000))
    assert abs(float(y.mean()) - 1) < 0.01
    assert abs(float((y == 0).float().mean()) - 0.3) < 0.005
    assert torch.allclose(y[y > 0], torch.tensor(1 / 0.7))


def test_an_item_has_its_mask_in_any_batch():
    layer, x = Dropout(0.5), torch.ones(6, 4, 3)
    with counted(Draws.of(0, range(6), "d")):
        whole, again = layer(x), layer(x)
    with counted(Draws.of(0, [4, 2], "d")):
        part = layer(x[:2])
    assert torch.equal(whole, again) and torch.equal(part, whole[[4, 2]])


def test_layers_differ_once_they_are_numbered():
    model = nn.Sequential(Dropout(0.5), nn.Identity(), Dropout(0.5))
    assert number_dropouts(model) == 2 and model[2].index == 1 and "index=1" in repr(model[2])
    x = torch.ones(3, 50)
    with counted(Draws.of(0, range(3), "d")):
        assert not torch.equal(model[0](x), model[2](x))


def test_identity_in_evaluation_and_at_zero():
    x = torch.ones(2, 2)
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0)(x) is x


def test_mistakes_are_named():
    with pytest.raises(UserError, match="counted"):
        Dropout(0.5)(torch.ones(2, 2))
    with counted(Draws.of(0, range(3), "d")), pytest.raises(UserError, match="2 items and the keys of 3"):
        Dropout(0.5)(torch.ones(2, 2))
    with pytest.raises(UserError, match="probability"):
        Dropout(1.0)


def test_the_context_ends():
    with counted(Draws.of(0, range(2), "d")):
        pass
    with pytest.raises(UserError):
        Dropout(0.5)(torch.ones(2, 2))


def test_torchs_own_dropout_is_found():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0), nn.Sequential(nn.Dropout2d(0.1)))
    assert uncounted_dropout(model) == "2.0"
    assert uncounted_dropout(nn.Sequential(nn.Dropout(0.0), Dropout(0.5))) is None
