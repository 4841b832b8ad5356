"""What schedulers' configurations say, against closed forms; all of it without diffusers."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.errors import UserError
from pushforward.interop import ClippedDDIM, DiffusersGrid, read_schedule
from pushforward.numerics.random import Draws
from pushforward.paths import Straight, Table
from pushforward.paths.table import cosine_betas, linear_betas, sqrt_linear_betas, zero_terminal_snr
from pushforward.samplers import DDIM, simulate

USUAL = {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02}


@pytest.mark.parametrize(
    ("config", "betas"),
    [
        ({"beta_schedule": "linear"}, linear_betas()),
        ({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, sqrt_linear_betas()),
        ({"beta_schedule": "squaredcos_cap_v2"}, cosine_betas()),
        ({"trained_betas": linear_betas(50).tolist(), "num_train_timesteps": 50}, linear_betas(50)),
        ({"beta_schedule": "linear", "rescale_betas_zero_snr": True}, zero_terminal_snr(linear_betas())),
    ],
)
def test_tables_are_those_of_the_papers(config, betas):
    """In float32, as diffusers computes them: the last ᾱ are products of a thousand rounded numbers."""
    found, exact = read_schedule({**USUAL, **config}).path, Table.of_betas(betas)
    torch.testing.assert_close(found.alphas, exact.alphas, rtol=2e-3, atol=1e-6)
    torch.testing.assert_close(found.sigmas, exact.sigmas, rtol=1e-3, atol=1e-6)


def test_defaults_are_those_of_the_class():
    for name, ends in (("DDIMScheduler", (1e-4, 0.02)), ("HeunDiscreteScheduler", (0.00085, 0.012))):
        betas = read_schedule({"_class_name": name}).path.betas
        assert float(betas[0]) == pytest.approx(ends[0], rel=1e-3)
        assert float(betas[-1]) == pytest.approx(ends[1], rel=1e-2)
    assert read_schedule({"_class_name": "DDIMScheduler"}).clip == 1.0
    assert read_schedule({"_class_name": "DDIMScheduler", "clip_sample": False}).clip is None
    assert read_schedule({"_class_name": "EulerDiscreteScheduler"}).clip is None


CONFIGS = [
    {**USUAL, "prediction_type": "epsilon"},
    {**USUAL, "prediction_type": "sample"},
    {**USUAL, "_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction"},
    {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True},
    {"_class_name": "EDMEulerScheduler", "sigma_data": 0.7},
    {"_class_name": "EDMDPMSolverMultistepScheduler", "prediction_type": "v_prediction"},
    {"_class_name": "ScoreSdeVeScheduler", "sigma_max": 50.0},
]


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: f"{config['_class_name']}-{config.get('prediction_type')}"
)
def test_a_network_that_answers_with_its_target_is_read_back(config):
    """F* of the prediction, read as an estimate, gives the data and the noise that it was made of; times come back."""
    schedule = read_schedule(config)
    generator = torch.Generator().manual_seed(0)
    x0, z = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    for share in (0.1, 0.5, 0.9):
        path = schedule.path
        level = path.level(path.t_min + share * (path.t_max - path.t_min))
        x, target = path.mix(x0, z, level), schedule.prediction.target(x0, z, level)
        r = schedule.prediction.reading(level)
        torch.testing.assert_close(r.mean_x * x + r.mean_f * target, x0, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(r.noise_x * x + r.noise_f * target, z, rtol=1e-6, atol=1e-6)
        again = schedule.level(float(schedule.time(level)))
        assert again.ratio == pytest.approx(level.ratio, rel=1e-9)


def test_times_are_those_that_networks_were_trained_with():
    assert read_schedule(USUAL).time(read_schedule(USUAL).path.level(0.5)) == pytest.approx(499)
    flow = read_schedule({"_class_name": "FlowMatchEulerDiscreteScheduler"})
    assert isinstance(flow.path, Straight)
    assert flow.time(flow.path.level(0.25)) == pytest.approx(250)
    edm = read_schedule({"_class_name": "EDMEulerScheduler"})
    assert edm.time(edm.path.level(0.5)) == pytest.approx(0.25 * math.log(40.0))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"_class_name": "VQDiffusionScheduler"},
            "scheduler 'VQDiffusionScheduler' is none .* known are .*DDIMScheduler",
        ),
        ({}, "scheduler '' is none"),
        ({**USUAL, "beta_schedule": "spiral"}, "β schedule 'spiral'"),
        ({**USUAL, "prediction_type": "guess"}, "predicts 'guess'"),
        ({**USUAL, "thresholding": True}, "dynamic thresholding"),
        ({**USUAL, "beta_end": "much"}, "cannot be read"),
        ({**USUAL, "trained_betas": [0.5, 3.0]}, "."),
    ],
)
def test_other_schedulers_are_refused(config, words):
    with pytest.raises(UserError, match=words):
        read_schedule(config)


def test_time_steps_of_diffusers():
    path = read_schedule(USUAL).path

    def index(grid, steps):
        return [round(level.t * 1000 - 1) for level in grid(path, steps)]

    assert index(DiffusersGrid(), 4) == [750, 500, 250, 0, -1]
    assert index(DiffusersGrid(offset=1, to_clean=False), 4) == [751, 501, 251, 1, 0]
    assert index(DiffusersGrid(spacing="trailing"), 4) == [999, 749, 499, 249, -1]
    assert index(DiffusersGrid(spacing="linspace"), 4) == [999, 666, 333, 0, -1]
    with pytest.raises(UserError, match="leading, trailing or linspace"):
        DiffusersGrid(spacing="even")(path, 4)


def test_without_clipping_it_is_ddim_and_with_it_only_the_data_is_clipped():
    from pushforward.denoisers import Mixture, MixtureDenoiser

    schedule = read_schedule(USUAL)
    mixture = Mixture.of_covariances(
        torch.ones(1).double(), torch.full((1, 3), 1.5).double(), torch.tensor([0.1]).double()
    )
    denoiser = MixtureDenoiser(mixture, schedule.path)
    levels, draws = DiffusersGrid()(schedule.path, 10), Draws.of(0, range(5))
    x = draws.normal((3,), torch.float64)
    ours = simulate(denoiser, DDIM, x, levels, draws)
    torch.testing.assert_close(simulate(denoiser, ClippedDDIM(None), x, levels, draws), ours)
    clipped = simulate(denoiser, ClippedDDIM(1.0), x, levels, draws)
    assert float(clipped.max()) <= 1.0 < float(ours.max())
