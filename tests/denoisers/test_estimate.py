"""The invariant α·mean + σ·noise = x_t for every prediction, path and time, and what follows from it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pushforward.denoisers import (
    DataPrediction,
    EDMPrediction,
    Estimate,
    FlowPrediction,
    NetworkDenoiser,
    NoisePrediction,
    ScorePrediction,
    TableIndex,
    VPrediction,
    log_noise,
)
from pushforward.errors import UserError
from pushforward.paths import (
    CLEAN,
    EDM,
    VE,
    VP,
    CosineVP,
    Straight,
    SubVP,
    Table,
    linear_betas,
    ncsn_ladder,
    zero_terminal_snr,
)

PREDICTIONS = [NoisePrediction, ScorePrediction, DataPrediction, VPrediction, FlowPrediction, EDMPrediction]
NEED_ALPHA = (NoisePrediction, ScorePrediction)
PATHS = [
    VP(),
    SubVP(),
    VE(),
    EDM(),
    Straight(),
    CosineVP(),
    Table.of_betas(linear_betas()),
    Table.of_betas(zero_terminal_snr(linear_betas(100))),
    Table.of_sigmas(ncsn_ladder()),
]


class Wavy(nn.Module):
    def forward(self, x, time):
        return torch.sin(3 * x + time[:, None].to(x))


@given(
    path=st.sampled_from(PATHS),
    kind=st.sampled_from(PREDICTIONS),
    share=st.floats(0, 1),
    data=st.sampled_from([0.3, 1.0, 4.0]),
    per_sample=st.booleans(),
)
def test_the_invariant_holds_for_every_prediction_path_and_time(path, kind, share, data, per_sample):
    t = path.t_min + share * (path.t_max - path.t_min)
    level = path.level(torch.full((4,), t, dtype=torch.float64) if per_sample else t)
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    denoiser = NetworkDenoiser(path, Wavy(), kind(data))
    if kind in NEED_ALPHA and not per_sample and level.alpha == 0:
        with pytest.raises(UserError, match="α = 0"):
            denoiser(x, level)
        return
    if kind in NEED_ALPHA and per_sample and float(level.alpha[0]) == 0:
        return
    estimate = denoiser(x, level)
    alpha, sigma = (torch.as_tensor(s, dtype=torch.float64).reshape(-1, 1) for s in (level.alpha, level.sigma))
    parts = alpha * estimate.mean, sigma * estimate.noise
    size = 1 + parts[0].abs().max() + parts[1].abs().max()
    assert torch.allclose(sum(parts), x, rtol=0, atol=1e-12 * float(size))
    both = estimate.read(2.0, -3.0)
    large = float((2 * estimate.mean).abs().max() + (3 * estimate.noise).abs().max())
    assert torch.allclose(both, 2 * estimate.mean - 3 * estimate.noise, rtol=0, atol=1e-10 * (1 + large))
    if float(sigma.min()) > 0:
        assert torch.allclose(estimate.score, -estimate.noise / sigma)


@given(path=st.sampled_from(PATHS), kind=st.sampled_from(PREDICTIONS), share=st.floats(0, 0.98))
def test_a_network_that_hits_its_target_finds_the_data_and_the_noise(path, kind, share):
    """F = F* is read back as (x_0, z): targets and readings are inverse to one another."""
    prediction, t = kind(0.5), path.t_min + share * (path.t_max - path.t_min)
    level = path.level(t)
    x0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    z = torch.cos(5 * x0)
    estimate = Estimate(path.mix(x0, z, level), level, prediction.target(x0, z, level), prediction.reading(level))
    lost = 1e-13 * (1 + level.ratio) * (1 + 1 / level.ratio)  # what a division by a small α or σ costs
    assert torch.allclose(estimate.mean, x0, atol=max(1e-10, lost), rtol=0)
    assert torch.allclose(estimate.noise, z, atol=max(1e-10, lost), rtol=0)


def test_per_sample_levels_equal_single_ones():
    path, t = VP(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    x = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)
    for kind in PREDICTIONS:
        denoiser = NetworkDenoiser(path, Wavy(), kind(0.5))
        together = denoiser(x, t)
        for i in range(3):
            alone = denoiser(x[i : i + 1], float(t[i]))
            assert torch.allclose(together.mean[i], alone.mean[0], rtol=1e-6)
            assert torch.allclose(together.noise[i], alone.noise[0], rtol=1e-6)


def test_estimates_from_the_mean_and_from_the_noise():
    path, x = VP(), torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    level = path.level(0.4)
    first = Estimate.of_mean(x, level, 0.2 * x, var=torch.ones(1))
    second = Estimate.of_noise(x, level, first.noise)
    assert torch.allclose(second.mean, first.mean)
    assert first.var is not None
    assert second.var is None
    assert first.reads_like(Estimate.of_mean(x, level, x))
    assert not first.reads_like(second)
    clean = Estimate.of_mean(x, CLEAN, x)
    assert torch.equal(clean.mean, x)
    assert torch.equal(NetworkDenoiser(path, Wavy(), DataPrediction())(x, 0.0).noise, 0 * x)
    lazy = Estimate.of_mean(x, level, x, var=lambda: torch.full((1,), 7.0))
    assert float(lazy.var) == 7.0
    with pytest.raises(UserError, match="α = 0"):
        Estimate.of_noise(x, Straight().level(1.0), x)


def test_gradients_pass_through_an_estimate():
    path = VP()
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    estimate = NetworkDenoiser(path, Wavy(), VPrediction())(x, 0.5)
    estimate.mean.sum().backward()
    assert bool((x.grad != 0).all())


def test_times_that_networks_are_given():
    assert TableIndex(1000)(Table.of_betas(linear_betas()).level(1.0)) == 999.0
    assert log_noise(EDM().level(1 / 80)) == pytest.approx(0.0, abs=1e-12)
    assert log_noise(CLEAN) == -5.0
    assert log_noise(Straight().level(1.0)) == 5.0
    tensor = log_noise(EDM().level(torch.tensor([1 / 80, 1.0], dtype=torch.float64)))
    assert tensor.tolist() == pytest.approx([0.0, log_noise(EDM().level(1.0))], abs=1e-12)


def test_conditions():
    class Labelled(nn.Module):
        def forward(self, x, time, label=None):
            return x * 0 + (0 if label is None else label[:, None])

    denoiser = NetworkDenoiser(VP(), Labelled(), NoisePrediction(), accepts=("label",))
    bound = denoiser.given(label=torch.tensor([1.0, 2.0]))
    assert bound(torch.zeros(2, 1), 0.5).noise.flatten().tolist() == [1.0, 2.0]
    assert bound.rows(torch.tensor([1]))(torch.zeros(1, 1), 0.5).noise.item() == 2.0
    assert denoiser(torch.zeros(2, 1), 0.5).noise.abs().max() == 0.0
    for bad, says in (
        (lambda: denoiser.given(colour=torch.ones(2)), "label"),
        (lambda: denoiser.given(label=3), "tensor"),
    ):
        with pytest.raises(UserError, match=says):
            bad()
    with pytest.raises(UserError, match="sigma_data"):
        EDMPrediction(0.0)
