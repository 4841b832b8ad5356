"""Image flows: squeezes, several scales, and Glow as one bijection."""

import pytest
import torch

from pushforward.errors import UserError
from pushforward.flows import LU, ChannelNet, Multiscale, Scale, Spline, Squeeze, glow, log_abs_det
from pushforward.numerics.random import Draws, key, normal


def numbers(seed, *shape):
    return normal(torch.tensor([key("images", seed)]), shape, torch.float64)[0]


def small(context=0, **settings):
    torch.manual_seed(0)
    flow = glow((1, 8, 4), 2, 2, 8, context, **settings).double()
    for i, parameter in enumerate(flow.parameters()):
        parameter.data += 0.1 * numbers(i, *parameter.shape)
    return flow


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("settings", [{}, {"rule": Spline(bins=4)}])
def test_glow_is_a_bijection_with_its_log_determinant(context, settings):
    bijection = small(context, **settings).bijection
    x = numbers(0, 3, 1, 8, 4)
    bound = bijection.given(numbers(1, 3, context) if context else None)
    y, log_det = bound.forward(x)
    assert y.shape == (3, 32)
    assert torch.allclose(log_det, log_abs_det(lambda v: bound.forward(v)[0], x)[1], rtol=1e-9, atol=1e-9)
    back, log_det_back = bound.inverse(y)
    assert torch.allclose(back, x, atol=1e-9) and torch.allclose(log_det_back, -log_det, atol=1e-9)


def test_glow_starts_from_a_batch_and_samples_images():
    flow = small(2)
    x, context = 5 + 3 * numbers(2, 40, 1, 8, 4), numbers(3, 40, 2)
    before = flow.log_prob(x, context).mean()
    flow.initialise(x, context)
    assert flow.log_prob(x, context).mean() > before + 10
    with torch.no_grad():
        sample, log_prob = flow.sample_and_log_prob(Draws.of(0, range(3)), context[:3])
    assert sample.shape == (3, 1, 8, 4)
    assert torch.allclose(flow.log_prob(sample, context[:3]), log_prob, atol=1e-8)


def test_squeeze_keeps_blocks_together():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y, log_det = Squeeze()(x)
    assert y.shape == (1, 4, 2, 2) and float(log_det) == 0
    assert y[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert torch.equal(Squeeze().inverse(y)[0], x)


def test_one_by_one_convolution_counts_every_pixel():
    layer = LU(3, numbers(4, 3, 3)).double()
    x = numbers(5, 2, 3, 4, 5)
    y, log_det = layer(x)
    assert torch.allclose(log_det, 20 * torch.linalg.slogdet(layer.matrix())[1].expand(2))
    kernel = layer.matrix()[:, :, None, None]
    assert torch.allclose(y, torch.nn.functional.conv2d(x, kernel, layer.bias))
    assert torch.allclose(layer.inverse(y)[0], x, atol=1e-10)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Squeeze()(torch.zeros(1, 1, 3, 4)), "must be even"),
        (lambda: Squeeze().inverse(torch.zeros(1, 3, 2, 2)), "fours"),
        (lambda: small().log_prob(torch.zeros(2, 1, 4, 4).double()), r"takes \(1, 8, 4\); it was given \(1, 4, 4\)"),
        (lambda: small().bijection.inverse(torch.zeros(2, 31).double()), r"takes \(32,\)"),
        (lambda: small(2).log_prob(torch.zeros(2, 1, 8, 4).double()), "condition"),
        (lambda: small().log_prob(torch.zeros(2, 1, 8, 4).double(), torch.zeros(2, 1).double()), "condition"),
        (lambda: Multiscale((1, 4, 4), [Scale(1.0)], [Scale(1.0)]), "left 0 times"),
        (lambda: ChannelNet(0, 1, 2), "inputs=0"),
    ],
)
def test_mistakes_get_one_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()
