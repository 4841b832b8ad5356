"""Functions as denoisers and back, against the exact mixture."""

from __future__ import annotations

import pytest
import torch

from pushforward.denoisers import FlowPrediction, Mixture, MixtureDenoiser, NoisePrediction
from pushforward.errors import UserError
from pushforward.interop import OfFunction, OfSigma, as_sigma
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, VP, Straight
from pushforward.samplers import default_sampler

MIXTURE = Mixture.of_covariances(
    torch.tensor([0.3, 0.7]).double(),
    torch.tensor([[1.0, 0.0], [-1.0, 0.5]]).double(),
    torch.tensor([0.1, 0.2]).double(),
)


def published(x, sigma):
    """D(x, σ) as k-diffusion calls it: E[x_0 | x_0 + σz], by the exact mixture."""
    path = EDM(1e-3, 200.0)
    return MixtureDenoiser(MIXTURE, path).estimate(x, path.level(sigma.double() / 200.0)).mean


@pytest.mark.parametrize("path", [EDM(), VP(), Straight(1e-3, 0.99)])
def test_a_function_of_sigma_is_the_denoiser_on_every_path(path):
    x = Draws.of(0, range(6)).normal((2,), torch.float64)
    for share in (0.1, 0.5, 0.95):
        level = path.level(path.t_min + share * (path.t_max - path.t_min))
        found = OfSigma(published, path).estimate(x, level)
        exact = MixtureDenoiser(MIXTURE, path).estimate(x, level)
        torch.testing.assert_close(found.mean, exact.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(level.alpha * found.mean + level.sigma * found.noise, x)


def test_our_samplers_draw_with_it():
    path, draws = EDM(), Draws.of(0, range(50))
    start = path.prior(draws.at("prior").normal((2,), torch.float64))
    ours = default_sampler(path, 12).sample(MixtureDenoiser(MIXTURE, path), start, 12, draws)
    theirs = default_sampler(path, 12).sample(OfSigma(published, path), start, 12, draws)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)


def test_there_and_back():
    denoiser = MixtureDenoiser(MIXTURE, VP())
    function = as_sigma(denoiser)
    x, sigma = torch.tensor([[0.3, -0.2], [4.0, 1.0]]).double(), torch.tensor([0.5, 3.0]).double()
    torch.testing.assert_close(function(x, sigma), published(x, sigma), rtol=1e-5, atol=1e-6)
    again = OfSigma(function, EDM(0.02, 100.0))
    level = again.path.level(0.01)
    torch.testing.assert_close(
        again.estimate(x, level).mean, published(x, torch.ones(2) * level.sigma), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(UserError, match="σ lies in"):
        function(x, torch.tensor(1e6))


@pytest.mark.parametrize("prediction", [NoisePrediction(), FlowPrediction()])
def test_any_function_of_a_time_is_read_by_its_prediction(prediction):
    path = Straight(1e-3, 0.99)
    exact = MixtureDenoiser(MIXTURE, path)

    def f(x, time):
        level = path.level(time.double() / 1000)
        estimate = exact.estimate(x, level)
        return estimate.noise if isinstance(prediction, NoisePrediction) else estimate.noise - estimate.mean

    denoiser = OfFunction(f, path, prediction, lambda level: 1000 * level.t)
    x, level = Draws.of(1, range(4)).normal((2,), torch.float64), path.level(0.4)
    torch.testing.assert_close(denoiser.estimate(x, level).mean, exact.estimate(x, level).mean, rtol=1e-5, atol=1e-6)


def test_conditions_go_along_and_rows_are_chosen():
    def f(x, sigma, scale):
        return x * scale[:, None]

    bound = OfSigma(f).given(scale=torch.tensor([1.0, 2.0, 3.0]))
    level = bound.path.level(0.1)
    x = torch.ones(2, 2)
    torch.testing.assert_close(
        bound.rows(torch.tensor([2, 0])).estimate(x, level).mean, torch.tensor([[3.0] * 2, [1.0] * 2])
    )


def test_answers_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"given \(2, 2\) and answered with \(2,\)"):
        OfSigma(lambda x, sigma: x[:, 0]).estimate(torch.zeros(2, 2), EDM().level(0.5))
    with pytest.raises(UserError, match="α = 0"):
        OfSigma(published, Straight()).estimate(torch.zeros(2, 2), Straight().level(1.0))
