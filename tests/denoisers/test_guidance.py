"""Guidance against Gaussians, where what guidance does is known, and wrappers against their definitions."""

import pytest
import torch
from torch import nn

from pushforward.denoisers import (
    Clipped,
    EDMPrediction,
    Estimate,
    GuidanceInterval,
    Mixture,
    MixtureDenoiser,
    NetworkDenoiser,
    NoisePrediction,
    classifier_guided,
    clipped,
    dynamically_thresholded,
    guided,
    reference_flow,
)
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.terminal import Moments
from pushforward.denoisers.transport import transport
from pushforward.errors import UserError
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, VP, Straight


def gaussian(mean, variance, path):
    means = torch.tensor([[mean]], dtype=torch.float64)
    mixture = Mixture.of_covariances(torch.ones(1).double(), means, torch.tensor([variance], dtype=torch.float64))
    return MixtureDenoiser(mixture, path)


class Labelled(nn.Module):
    """A network with a label, counting its calls and their sizes."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x, time, label=None):
        self.sizes.append(len(x))
        shift = 0.0 if label is None else label[:, None].to(x)
        return torch.tanh(x + time[:, None] + shift)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0, 5.0])
def test_guided_samples_of_equal_gaussians_are_shifted_by_the_weight(weight):
    """Unconditional N(0, σ²), conditional N(μ, σ²): the guided flow ends in N(wμ, σ²)."""
    path, mu, variance = VP(), 1.5, 0.3
    denoiser = guided(gaussian(mu, variance, path), gaussian(0.0, variance, path), weight)
    level = path.level(1.0)
    start = level.sigma * torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    end = reference_flow(denoiser, start, level)
    size = (level.alpha**2 * variance + level.sigma**2) ** 0.5
    expected = weight * mu + variance**0.5 * (start - level.alpha * weight * mu) / size
    assert torch.allclose(end, expected, atol=1e-6)


def test_unequal_variances_give_the_score_of_the_product_at_time_zero():
    """∇ log p_u^{1−w} p_c^w: precision w/σ_c² + (1 − w)/σ_u², in the limit of no noise."""
    path, w = EDM(sigma_min=1e-5), 5.0
    denoiser = guided(gaussian(0.0, 0.25, path), gaussian(0.0, 1.0, path), w)
    x = torch.tensor([[0.3]], dtype=torch.float64)
    assert denoiser(x, path.level(path.t_min)).score.item() == pytest.approx(-0.3 / 0.0625, rel=1e-4)


def test_two_conditions_of_one_network_are_one_call_and_equal_two():
    path, network = EDM(), Labelled()
    base = NetworkDenoiser(path, network, EDMPrediction(0.5), accepts=("label",))
    label, nothing = torch.arange(4.0), torch.full((4,), 9.0)
    x = Draws.of(0, range(4)).normal((3,), torch.float64)
    both = guided(base.given(label=label), base.given(label=nothing), 2.5)
    for t in (0.01, torch.tensor([0.01, 0.02, 0.3, 1.0], dtype=torch.float64)):
        network.sizes.clear()
        got = both(x, t)
        assert network.sizes == [8]
        one, other = base.given(label=label)(x, t), base.given(label=nothing)(x, t)
        assert torch.allclose(got.mean, other.mean + 2.5 * (one.mean - other.mean))
        assert torch.allclose(got.noise, other.noise + 2.5 * (one.noise - other.noise))
    network.sizes.clear()
    separate = guided(base.given(label=label), base, 2.5)(x, 0.01)  # other names of conditions: two calls
    assert network.sizes == [4, 4]
    assert torch.allclose(separate.mean, base(x, 0.01).mean * -1.5 + 2.5 * base.given(label=label)(x, 0.01).mean)
    rebound = guided(base, base.given(label=nothing), 2.5).given(label=label)
    assert torch.allclose(rebound(x, 0.01).mean, both(x, 0.01).mean)
    part = both.rows(torch.tensor([2]))
    assert torch.allclose(part(x[2:3], 0.01).mean, both(x, 0.01).mean[2:3])


def test_different_predictions_mix_on_the_mean():
    path = VP()
    first = NetworkDenoiser(path, Labelled(), EDMPrediction(0.5))
    second = NetworkDenoiser(path, Labelled(), NoisePrediction())
    x = torch.ones(2, 3, dtype=torch.float64)
    got = guided(first, second, torch.tensor([0.5, 3.0]))(x, 0.4)
    w = torch.tensor([[0.5], [3.0]], dtype=torch.float64)
    assert torch.allclose(got.mean, second(x, 0.4).mean * (1 - w) + w * first(x, 0.4).mean)
    assert torch.allclose(path.level(0.4).alpha * got.mean + path.level(0.4).sigma * got.noise, x)


def test_guidance_acts_inside_its_interval_only():
    path = EDM()
    conditional, unconditional = gaussian(1.0, 0.2, path), gaussian(0.0, 0.2, path)
    limited = guided(conditional, unconditional, 3.0, GuidanceInterval(0.5, 2.0))
    everywhere = guided(conditional, unconditional, 3.0)
    x = torch.tensor([[0.1], [0.1], [0.1]], dtype=torch.float64)
    sigmas = torch.tensor([0.4, 1.0, 3.0], dtype=torch.float64)
    for i, sigma in enumerate(sigmas.tolist()):
        expected = everywhere if i == 1 else conditional
        assert torch.allclose(limited(x, sigma / 80).mean, expected(x, sigma / 80).mean)
    together = limited(x, sigmas / 80).mean
    alone = torch.cat([limited(x[:1], s / 80).mean for s in sigmas.tolist()])
    assert torch.allclose(together, alone)


class Label:
    """log p(y | x_t) of a mixture's component, one y per sample."""

    def __init__(self, denoiser, y):
        self.denoiser, self.y = denoiser, y

    def __call__(self, x, level):
        return torch.log(self.denoiser.responsibilities(x, level)).gather(1, self.y[:, None])[:, 0]

    def rows(self, index):
        return Label(self.denoiser, self.y[index])


@pytest.mark.parametrize("path", [VP(), Straight()], ids=["vp", "straight"])
def test_the_exact_classifier_turns_the_unconditional_into_the_conditional(path):
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    variances = torch.tensor([0.2, 0.1], dtype=torch.float64)
    whole = MixtureDenoiser(Mixture.of_covariances(weights, means, variances), path)
    part = MixtureDenoiser(Mixture.of_covariances(weights[1:], means[1:], variances[1:]), path)
    x = Draws.of(0, range(6)).normal((2,), torch.float64)
    denoiser = classifier_guided(whole, Label(whole, torch.ones(6, dtype=torch.int64)))
    for t in (0.2, 0.8, torch.linspace(0.1, 0.9, 6, dtype=torch.float64)):
        assert torch.allclose(denoiser(x, t).mean, part(x, t).mean, atol=1e-9)
    with torch.inference_mode():
        assert torch.allclose(denoiser(x, 0.3).score, part(x, 0.3).score, atol=1e-9)
    some = denoiser.rows(torch.tensor([1, 4]))
    assert torch.allclose(some(x[[1, 4]], 0.3).mean, denoiser(x, 0.3).mean[[1, 4]])
    double = classifier_guided(whole, Label(whole, torch.ones(6, dtype=torch.int64)), 2.0)(x, 0.3)
    assert torch.allclose(double.score - whole(x, 0.3).score, 2 * (part(x, 0.3).score - whole(x, 0.3).score), atol=1e-8)
    off = classifier_guided(whole, Label(whole, torch.ones(6, dtype=torch.int64)), interval=GuidanceInterval(5.0))
    assert torch.equal(off(x, 0.3).mean, whole(x, 0.3).mean)
    per_sample = off(x, torch.full((6,), 0.3, dtype=torch.float64))
    assert torch.allclose(per_sample.mean, whole(x, 0.3).mean)
    if isinstance(path, Straight):
        assert torch.equal(denoiser(x, 1.0).mean, whole(x, 1.0).mean)


@pytest.mark.parametrize("path", [VP(), EDM()], ids=["vp", "edm"])
def test_the_likelihood_of_a_guided_denoiser_knows_how_its_guidance_bends(path):
    """Guided by the exact classifier the whole is the part, so its density is the part's, derivatives included."""
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.tensor([[-0.6, 0.0], [0.5, 0.4]], dtype=torch.float64)
    variances = torch.tensor([0.2, 0.1], dtype=torch.float64)
    whole = MixtureDenoiser(Mixture.of_covariances(weights, means, variances), path)
    part = MixtureDenoiser(Mixture.of_covariances(weights[1:], means[1:], variances[1:]), path)
    x = 0.5 + 0.4 * Draws.of(0, range(6)).normal((2,), torch.float64)
    moments = Moments.of(means[1], variances[1:].expand(2))
    one = torch.ones(6, dtype=torch.int64)
    move = transport(classifier_guided(whole, Label(whole, one)), Adams(39, 3, Bunched(-0.3)), sigma_data=0.4)
    end = move.solve(x)
    assert torch.allclose(moments.log_prob(end.y, move.last) + end.log_det, part.log_prob(x, CLEAN), atol=0.01)


class Fixed(Denoiser):
    """Always the same mean."""

    def __init__(self, path, mean):
        self.path, self.value = path, mean

    def estimate(self, x, level):
        return Estimate.of_mean(x, level, self.value.expand_as(x), torch.full((len(x),), 0.5))


def test_clipping_keeps_the_invariant_and_the_variance():
    path = VP()
    inner = Fixed(path, torch.tensor([-3.0, 0.2, 1.7], dtype=torch.float64))
    x, level = torch.ones(2, 3, dtype=torch.float64), path.level(0.5)
    estimate = clipped(inner, -1.0, 1.5)(x, level)
    assert estimate.mean[0].tolist() == [-1.0, 0.2, 1.5]
    assert torch.allclose(level.alpha * estimate.mean + level.sigma * estimate.noise, x)
    assert estimate.var.tolist() == [0.5, 0.5]


def test_dynamic_thresholding_by_its_definition():
    path = VP()
    values = torch.linspace(-2, 3, 101, dtype=torch.float64)
    x = torch.ones(1, 101, dtype=torch.float64)
    got = dynamically_thresholded(Fixed(path, values), 0.9)(x, 0.5).mean[0]
    bound = torch.sort(values.abs()).values[90]
    assert torch.allclose(got, values.clamp(-bound, bound) / bound)
    inside = dynamically_thresholded(Fixed(path, values / 10), 0.9)(x, 0.5).mean[0]
    assert torch.allclose(inside, values / 10)  # nothing changes inside the range
    shifted = dynamically_thresholded(Fixed(path, 127.5 + 127.5 * values), 0.9, 0.0, 255.0)(x, 0.5).mean[0]
    assert torch.allclose(shifted, 127.5 + 127.5 * got)


def test_wrappers_bind_conditions_to_what_they_hold():
    base = NetworkDenoiser(VP(), Labelled(), NoisePrediction(), accepts=("label",))
    wrapped = clipped(base).given(label=torch.arange(2.0))
    assert isinstance(wrapped, Clipped)
    x = torch.ones(2, 3, dtype=torch.float64)
    assert not torch.equal(wrapped(x, 0.5).mean, clipped(base)(x, 0.5).mean)
    assert torch.equal(wrapped.rows(torch.tensor([1]))(x[1:], 0.5).mean, wrapped(x, 0.5).mean[1:])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: clipped(gaussian(0.0, 1.0, VP()), 1.0, -1.0), "low < high"),
        (lambda: dynamically_thresholded(gaussian(0.0, 1.0, VP()), 1.5), "quantile"),
        (lambda: GuidanceInterval(2.0, 1.0), "interval"),
        (lambda: guided(gaussian(0.0, 1.0, VP()), gaussian(0.0, 1.0, EDM()), 2.0), "same path"),
        (
            lambda: classifier_guided(gaussian(0.0, 1.0, VP()), lambda x, level: x.sum())(
                torch.ones(2, 1).double(), 0.5
            ),
            "one number per sample",
        ),
    ],
)
def test_what_guidance_refuses(bad, says):
    with pytest.raises(UserError, match=says):
        bad()
