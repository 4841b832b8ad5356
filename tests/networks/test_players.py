"""Generators and discriminators: shapes, one item alone, labels, initial scale, normalised spectra."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward.errors import UserError
from pushforward.networks.image_players import ImageDiscriminator, ImageGenerator
from pushforward.networks.players import Projection
from pushforward.networks.spectral import Spectral, normalise_spectra
from pushforward.networks.vector_players import VectorDiscriminator, VectorGenerator
from pushforward.numerics.random import Draws

SHAPES = [(1, 8, 8), (3, 9, 5), (1, 28, 28), (2,), (7,)]


def seeded(seed=0):
    torch.manual_seed(seed)


def players(shape, classes=None, latent=6):
    seeded()
    if len(shape) == 3:
        generator = ImageGenerator(latent, shape, width=8, num_classes=classes)
        return generator, ImageDiscriminator(shape, width=8, num_classes=classes)
    return VectorGenerator(latent, shape, 32, num_classes=classes), VectorDiscriminator(shape, 32, num_classes=classes)


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_one_item_alone(shape, classes):
    generator, discriminator = players(shape, classes)
    z = Draws.of(0, range(5)).normal((6,))
    label = None if classes is None else torch.tensor([0, 1, 2, 0, 1])
    x = generator(z, label)
    value = discriminator(x, label)
    assert x.shape == (5, *shape) and value.shape == (5,)
    for i in range(5):
        one = None if label is None else label[i : i + 1]
        assert torch.allclose(generator(z[i : i + 1], one), x[i : i + 1], atol=1e-5)
        assert torch.allclose(discriminator(x[i : i + 1], one), value[i : i + 1], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_parameter_learns_and_labels_matter(shape):
    generator, discriminator = players(shape, 3)
    for network in (generator, discriminator):
        for p in network.parameters():  # branches that begin at zero hide what is inside them
            p.data += 0.05 * Draws.of(1, [p.numel()]).normal(p.shape)[0]
    z, label = Draws.of(0, range(5)).normal((6,)), torch.tensor([0, 1, 2, 0, 1])
    discriminator(generator(z, label), label).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in generator.parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in discriminator.parameters())
    other = (label + 1) % 3
    assert (generator(z, label) - generator(z, other)).abs().max() > 1e-3
    assert (discriminator(generator(z, label), label) - discriminator(generator(z, label), other)).abs().min() > 1e-4


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (5,)])
def test_depth_changes_no_scale(shape):
    """Values and items begin at a size of about one, however many layers there are."""
    seeded()
    if len(shape) == 3:
        nets = ImageGenerator(64, shape, 16, blocks=3), ImageDiscriminator(shape, 16, blocks=3)
    else:
        nets = VectorGenerator(64, shape, depth=6), VectorDiscriminator(shape, depth=6)
    draws = Draws.of(0, range(64))
    smooth = draws.at("x").normal((shape[0], *[1] * (len(shape) - 1))).expand(64, *shape)  # means over pixels keep it
    x, value = nets[0](draws.normal((64,))), nets[1](smooth)
    assert 0.3 < float(x.detach().std()) < 3 and 0.1 < float(value.detach().std()) < 3


def test_the_projection_is_linear_in_its_features():
    seeded()
    layer = Projection(4, 3)
    h, label = Draws.of(0, range(2)).normal((4,)), torch.tensor([2, 0])
    expected = layer.value(h)[:, 0] + 0.5 * (layer.label.weight[label] * h).sum(1)
    assert torch.allclose(layer(h, label), expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2,)])
def test_what_does_not_fit_is_refused(shape):
    generator, discriminator = players(shape, 3)
    plain = players(shape)[1]
    x, z = torch.zeros(2, *shape), torch.zeros(2, 6)
    fine = torch.tensor([0, 2])
    for call, words in (
        (lambda: generator(torch.zeros(2, 5), fine), r"needs z of shape \(batch, 6\)"),
        (lambda: discriminator(torch.zeros(2, 11), fine), "built for items of"),
        (lambda: generator(z), "built for 3 classes and needs a label"),
        (lambda: discriminator(x, torch.tensor([0, 3])), "given the label 3; its classes are 0 … 2"),
        (lambda: discriminator(x, torch.tensor([0, -1])), "given the label -1"),
        (lambda: discriminator(x, torch.tensor([0.0, 1.0])), "integer labels"),
        (lambda: discriminator(x, torch.tensor([0])), "one per item"),
        (lambda: plain(x, fine), "without classes"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_networks_of_other_shapes_are_refused():
    for build, words in (
        (lambda: ImageGenerator(4, (8,)), "makes images"),
        (lambda: ImageDiscriminator((8, 8)), "makes images|images of a shape"),
        (lambda: VectorGenerator(4, (1, 8, 8)), "for vectors"),
        (lambda: VectorDiscriminator((3,), waves=-1), "-1 waves up to 20"),
        (lambda: VectorGenerator(0, (3,)), "latent=0"),
        (lambda: ImageGenerator(4, (1, 8, 8), multipliers=()), "levels=0"),
    ):
        with pytest.raises(UserError, match=words):
            build()


def test_a_generator_of_vectors_can_jump():
    """Along a line of z its output is piecewise smooth with jumps; without cuts it has none."""
    line = torch.linspace(-2, 2, 4001)[:, None] * torch.tensor([[0.6, 0.8]])
    steps = []
    for cuts in (32, 0):
        seeded()
        x = VectorGenerator(2, (2,), cuts=cuts)(line).detach()
        steps.append((x[1:] - x[:-1]).norm(dim=1))
    assert steps[0].max() > 20 * steps[1].max()
    assert steps[0].median() < 2 * steps[1].median()
    seeded()
    assert VectorDiscriminator((2,), waves=0)(line).shape == (4001,)


# -- spectra ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [lambda: nn.Linear(7, 5), lambda: nn.Conv2d(3, 4, 3, padding=1)])
def test_the_largest_singular_value_becomes_one(build):
    seeded(1)
    layer = Spectral(build())
    for _ in range(60):
        layer(torch.zeros(1, 7) if isinstance(layer.layer, nn.Linear) else torch.zeros(1, 3, 4, 4))
    largest = torch.linalg.svdvals(layer.normalised().flatten(1))[0]
    assert largest.item() == pytest.approx(1.0, abs=1e-4)
    with torch.no_grad():
        layer.layer.weight *= 7.0
    assert torch.linalg.svdvals(layer.normalised().flatten(1))[0].item() == pytest.approx(1.0, abs=1e-4)


def test_a_linear_layer_of_normalised_spectrum_does_not_stretch():
    seeded(2)
    layer = Spectral(nn.Linear(6, 6))
    for _ in range(100):
        layer(torch.zeros(1, 6))
    a, b = Draws.of(0, range(50)).normal((6,)), Draws.of(1, range(50)).normal((6,))
    assert ((layer(a) - layer(b)).norm(dim=1) <= (a - b).norm(dim=1) * 1.001).all()


def test_the_vector_moves_in_training_alone_and_is_stored():
    seeded(3)
    layer = Spectral(nn.Linear(9, 9))
    with torch.no_grad():
        layer.layer.weight.copy_(Draws.of(5, [0]).normal((9, 9))[0])
    before = layer.u.clone()
    layer.eval()(torch.zeros(2, 9))
    assert torch.equal(layer.u, before)
    layer.train()(torch.zeros(2, 9))
    assert not torch.equal(layer.u, before)
    again = Spectral(nn.Linear(9, 9))
    again.load_state_dict(layer.state_dict())
    x = Draws.of(0, range(3)).normal((9,))
    assert torch.equal(again.eval()(x), layer.eval()(x))


def test_two_passes_and_their_gradients():
    """The vector of the first pass may not be written over by the second: the gradient still needs it."""
    seeded(4)
    layer = Spectral(nn.Linear(5, 1))
    x = Draws.of(0, range(3)).normal((5,)).requires_grad_()
    total = layer(x).sum() + layer(2 * x).sum()
    total.backward()
    assert torch.isfinite(layer.layer.weight.grad).all()


def test_the_gradient_is_that_of_the_quotient():
    """σ(W) has the gradient u vᵀ, which only holds at the leading singular vectors."""
    seeded(5)
    layer = Spectral(nn.Linear(4, 3, bias=False, dtype=torch.float64))
    for _ in range(200):
        layer(torch.zeros(1, 4).double())
    layer.eval()
    weight, c = layer.layer.weight, Draws.of(0, range(3)).normal((4,), torch.float64)
    [found] = torch.autograd.grad((layer.normalised() * c).sum(), weight)
    free = weight.detach().clone().requires_grad_()
    [expected] = torch.autograd.grad((free / torch.linalg.matrix_norm(free, 2) * c).sum(), free)
    assert torch.allclose(found, expected, atol=1e-8)


def test_all_layers_of_a_network_and_no_others():
    _, discriminator = players((1, 8, 8), 3)
    normalise_spectra(normalise_spectra(discriminator))  # twice is once
    kinds = [type(m) for m in discriminator.modules()]
    assert kinds.count(Spectral) == sum(k in (nn.Linear, nn.Conv2d) for k in kinds) > 4
    assert discriminator(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])).shape == (2,)
    with pytest.raises(UserError, match="Embedding"):
        Spectral(nn.Embedding(3, 4))
