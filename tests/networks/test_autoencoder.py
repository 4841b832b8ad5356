"""Encoders and decoders: shapes of any size, labels, what they refuse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import UserError
from pushforward.networks.autoencoder import ConvDecoder, ConvEncoder, SpatialDecoder, SpatialEncoder, halvings, sizes
from pushforward.networks.perceptron import Perceptron
from pushforward.numerics.random import Draws


@given(st.integers(1, 3), st.integers(1, 19), st.integers(1, 19), st.integers(0, 3))
def test_images_of_any_size_go_through(channels, height, width, levels):
    shape, x = (channels, height, width), Draws.of(0, range(2)).normal((channels, height, width))
    vector = ConvEncoder(shape, 5, width=4, levels=levels)(x)
    assert vector.shape == (2, 5)
    assert ConvDecoder(5, shape, width=4, levels=levels)(vector).shape == x.shape
    encoder = SpatialEncoder(shape, 3, width=4, levels=levels)
    code = encoder(x)
    assert code.shape == (2, 3, *encoder.grid) and encoder.grid == sizes(shape, levels)[-1]
    assert SpatialDecoder(3, shape, width=4, levels=levels)(code).shape == x.shape


@pytest.mark.parametrize(("side", "count"), [(1, 0), (4, 0), (5, 1), (8, 1), (28, 3), (64, 4)])
def test_images_are_halved_until_they_are_small(side, count):
    assert halvings((1, side, 2)) == count


def test_every_pixel_reaches_the_code_and_every_number_of_the_code_the_image():
    torch.manual_seed(0)
    x = Draws.of(0, range(1)).normal((2, 9, 7)).requires_grad_()
    ConvEncoder((2, 9, 7), 4, width=4)(x).square().sum().backward()
    assert bool((x.grad != 0).all())
    z = Draws.of(0, range(1)).normal((4,)).requires_grad_()
    ConvDecoder(4, (2, 9, 7), width=4)(z).square().sum().backward()
    assert bool((z.grad != 0).all())


def test_no_hidden_layer_is_a_linear_map():
    net = Perceptron((2, 3), (4,), ())
    x, y = Draws.of(0, range(5)).normal((2, 2, 3)).unbind(1)
    torch.testing.assert_close(net(x + y) + net(torch.zeros_like(x)), net(x) + net(y))


@pytest.mark.parametrize(
    "net",
    [
        Perceptron((4,), (2,), (8,), 3),
        Perceptron((4,), (2,), (), 3),
        SpatialDecoder(4, (1, 3, 3), 4, num_classes=3),
        ConvDecoder(4, (1, 5, 5), 4, num_classes=3),
    ],
)
def test_labels_change_the_output_and_are_asked_for(net):
    x = torch.zeros(3, 4, 3, 3) if isinstance(net, SpatialDecoder) else torch.zeros(3, 4)
    found = net(x, torch.arange(3))
    assert float((found[0] - found[1]).detach().abs().max()) > 1e-5
    with pytest.raises(UserError, match="labels of 3 classes; none were given"):
        net(x)
    with pytest.raises(UserError, match=r"Labels from -1 to 3 were given; expected 0 … 2"):
        net(x, torch.tensor([0, 3, -1]))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: Perceptron((2,), (3,))(torch.zeros(1, 3)), r"shape \(2,\), but was given \(3,\)"),
        (lambda: Perceptron((2,), (3,))(torch.zeros(1, 2), torch.zeros(1)), "without classes"),
        (lambda: Perceptron((2,), (3,), (0,)), "hidden"),
        (lambda: Perceptron((0,), (3,)), "inputs=0"),
        (lambda: ConvEncoder((1, 4, 4), 0), "outputs=0"),
        (lambda: ConvDecoder(0, (1, 4, 4)), "inputs=0"),
        (lambda: ConvDecoder(2, (1, 4, 4), 4)(torch.zeros(1, 3)), r"vectors of 2 numbers, but was given \(3,\)"),
        (
            lambda: SpatialEncoder((1, 4, 4), 2)(torch.zeros(1, 1, 5, 4)),
            r"shape \(1, 4, 4\), but was given \(1, 5, 4\)",
        ),
    ],
)
def test_mistakes_are_told(act, words):
    with pytest.raises(UserError, match=words):
        act()
