"""The denoising loss against its definition, and against what an exact or an empty network must give."""

import pytest
import torch
from torch import nn

from pushforward.denoisers import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    NetworkDenoiser,
    NoisePrediction,
    ScorePrediction,
    VPrediction,
)
from pushforward.objectives.denoising import denoising_error, denoising_loss
from pushforward.objectives.weighting import (
    P2,
    EDMWeighting,
    LearnedUncertainty,
    LikelihoodWeighting,
    MinSNR,
    data_weighting,
    noise_weighting,
    normalised,
    output_weighting,
    velocity_weighting,
)
from pushforward.paths import EDM, VE, VP, Straight, Table, linear_betas
from pushforward.paths.times import LogNormalTimes, LossAware, UniformLevels, UniformTimes

PREDICTIONS = [NoisePrediction, ScorePrediction, DataPrediction, VPrediction, FlowPrediction, EDMPrediction]


class Zero(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x, time, **conditions):
        self.calls += 1
        return torch.zeros_like(x)


class Linear(nn.Module):
    """A network that uses its time and its condition, so that a wrong one would show."""

    def forward(self, x, time, shift=None):
        return 0.3 * x + 0.1 * time[:, None] + (0.0 if shift is None else shift)


@pytest.mark.parametrize("path", [EDM(), VP(), Straight()])
@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0, 40.0])
def test_edm_loss_of_an_empty_network_is_one_at_every_level(path, sigma, draws):
    data = 0.7
    denoiser = NetworkDenoiser(path, Zero(), EDMPrediction(data))
    d = draws(4096)
    x0, z = data * d.at("x").normal((16,), torch.float64), d.at("z").normal((16,), torch.float64)
    level = path.level(path.time(-torch.log(torch.full((4096,), sigma, dtype=torch.float64))))
    assert denoising_error(denoiser, x0, z, level).mean() == pytest.approx(1.0, abs=0.02)


def test_the_network_is_called_once_with_scaled_input_time_and_conditions(draws):
    path, prediction, d = VP(), VPrediction(0.5), draws(8)
    x0 = d.at("x").normal((3,), torch.float64)
    shift = torch.arange(8.0)[:, None]
    denoiser = NetworkDenoiser(path, Linear(), prediction, accepts=("shift",)).given(shift=shift)
    got = denoising_loss(denoiser, x0, d, UniformTimes(), data_weighting)
    t = UniformTimes()(path, d.at("time")).t
    z = d.at("noise").normal_like(x0)
    alpha, sigma = (s[:, None] for s in path.scales(t))
    x = alpha * x0 + sigma * z
    output = Linear()(x / (0.25 * alpha**2 + sigma**2).sqrt(), -0.25 * torch.log(alpha / sigma)[:, 0], shift)
    mean = alpha * x - sigma * output  # v on a variance-preserving path
    assert torch.allclose(got, ((mean - x0) ** 2).mean(1), rtol=1e-6)
    counted = Zero()
    loss = denoising_loss(NetworkDenoiser(path, counted, prediction), x0, d, UniformTimes())
    assert counted.calls == 1
    assert loss.shape == (8,)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        (noise_weighting, lambda a, s, e, n: n),
        (data_weighting, lambda a, s, e, n: e),
        (velocity_weighting, lambda a, s, e, n: e * (a**2 + s**2) / s**2),
        (EDMWeighting(0.5), lambda a, s, e, n: e * ((s / a) ** 2 + 0.25) / (s / a * 0.5) ** 2),
        (MinSNR(5.0), lambda a, s, e, n: e * ((a / s) ** 2).clamp(max=5.0)),
        (P2(1.0, 0.5), lambda a, s, e, n: n / (1 + (a / s) ** 2) ** 0.5),
    ],
    ids=["noise", "data", "velocity", "edm", "min-snr", "p2"],
)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("path", [VP(), EDM()], ids=["vp", "edm"])
def test_each_weighting_is_the_error_it_names_for_every_prediction(weighting, expected, prediction, path, draws):
    """The errors of mean and noise are read from the estimate itself."""
    d, prediction = draws(16), prediction(0.5)
    x0, z = d.at("x").normal((2,), torch.float64), d.at("z").normal((2,), torch.float64)
    t = path.time(torch.linspace(-4, 4, 16, dtype=torch.float64))
    denoiser = NetworkDenoiser(path, Linear(), prediction)
    level = path.level(t)
    estimate = denoiser(path.mix(x0, z, level), level)
    mean_error = (estimate.mean - x0).square().mean(1)
    noise_error = (estimate.noise - z).square().mean(1)
    got = denoising_error(denoiser, x0, z, level) * torch.as_tensor(weighting(level, prediction))
    assert torch.allclose(got, expected(*path.scales(t), mean_error, noise_error), rtol=1e-6)
    for i in (0, 15):  # a float level gives the same weight
        one = weighting(path.level(float(t[i])), prediction)
        assert float(one) == pytest.approx(float(torch.as_tensor(weighting(level, prediction)).expand(16)[i]), rel=1e-9)


@pytest.mark.parametrize("path", [VP(), VE(), EDM()])
def test_likelihood_weighting_is_g_squared_times_the_error_of_the_score(path):
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    level = path.level(t)
    got = LikelihoodWeighting(path)(level, NoisePrediction())
    assert torch.allclose(got, path.diffusion_squared(t) / level.sigma**2, rtol=1e-9)
    assert LikelihoodWeighting(path)(path.level(0.5), NoisePrediction()) == pytest.approx(float(got[4]))


def test_likelihood_weighting_is_finite_where_nothing_of_the_data_is_left():
    weight = LikelihoodWeighting(Straight())(Straight().level(1.0), FlowPrediction())
    assert weight == 0.0


def test_normalised_weighting_has_mean_one(draws):
    path, prediction = VP(), NoisePrediction()
    t = torch.linspace(path.t_min, path.t_max, 20001, dtype=torch.float64)
    weighting = normalised(velocity_weighting, path, prediction, points=20000)
    assert float(weighting(path.level(t), prediction).mean()) == pytest.approx(1.0, rel=1e-2)
    law, d = LogNormalTimes(), draws(50_000)
    weighting = normalised(noise_weighting, EDM(), EDMPrediction(0.5), law)
    weights = weighting(EDM().level(law(EDM(), d).t), EDMPrediction(0.5))
    assert float(weights.mean()) == pytest.approx(1.0, rel=2e-2)


def test_learned_uncertainty_converges_to_the_log_of_the_loss(draws):
    """The minimum of e^{−u} L + u is at u = log L, at every level."""
    torch.manual_seed(0)
    path, d = EDM(), draws(512)
    x0 = 1.7 * d.at("x").normal((4,), torch.float64)  # the network believes σ_data = 0.5, so the loss is far from 1
    denoiser, module = NetworkDenoiser(path, Zero(), EDMPrediction(0.5)), LearnedUncertainty()
    law, optimiser = LogNormalTimes(), torch.optim.Adam(module.parameters(), lr=4e-2)
    for step in range(150):
        optimiser.zero_grad()
        denoising_loss(denoiser, x0, d.at(step), law, uncertainty=module).mean().backward()
        optimiser.step()
    for sigma in (0.2, 2.0):
        level = path.level(sigma / 80)
        expected = (sigma**2 * 1.7**2 / 0.25 + 0.25) / (sigma**2 + 0.25)
        assert module(level).item() == pytest.approx(float(torch.log(torch.tensor(expected))), abs=0.25)


def test_importance_weights_keep_the_mean_of_the_loss(draws):
    path, d = VP(), draws(20000)
    x0 = d.at("x").normal((1,), torch.float64)
    denoiser = NetworkDenoiser(path, Zero(), NoisePrediction())
    law = LossAware(UniformTimes(), cells=16)
    for step in range(4):
        denoising_loss(denoiser, x0, d.at(step), law, velocity_weighting, observe=law.observe)
    assert float(law.probabilities().max()) > 2 / 16  # it has moved to where the loss is large
    aware = denoising_loss(denoiser, x0, d.at("a"), law, velocity_weighting)
    plain = denoising_loss(denoiser, x0, d.at("a"), UniformTimes(), velocity_weighting)
    t = torch.linspace(path.t_min, path.t_max, 100001, dtype=torch.float64)
    exact = float((1 / path.scales(t)[0] ** 2).mean())  # E z² = 1 of the noise, 1/α² of it in v
    assert float(aware.mean()) == pytest.approx(exact, rel=0.05)
    assert float(aware.std()) < float(plain.std())


def test_discrete_levels_and_half_precision_outputs(draws):
    table, d = Table.of_betas(linear_betas(10)), draws(64)
    x0 = d.at("x").normal((2,))
    times = UniformLevels(10)(table, d.at("time")).t
    assert set((times * 10).round().int().tolist()) <= set(range(1, 11))
    assert torch.allclose(times * 10, (times * 10).round(), atol=1e-12)

    class Half(nn.Module):
        def forward(self, x, time):
            return (0.5 * x).to(torch.bfloat16)

    loss = denoising_loss(NetworkDenoiser(table, Half(), NoisePrediction()), x0, d, UniformLevels(10), output_weighting)
    assert loss.dtype == torch.float32
    assert bool(loss.isfinite().all())
