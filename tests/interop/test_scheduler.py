"""Our samplers inside a pipeline's loop give what they give in ours."""

from __future__ import annotations

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.interop import Scheduler, read_schedule
from pushforward.numerics.random import Draws
from pushforward.paths import DDIMStrided, UniformLogSNR
from pushforward.samplers import (
    DDIM,
    DDPM,
    AdaptiveDPMSolver,
    Churn,
    DPMSolverPP2M,
    Heun,
    Sampler,
    UniPC,
    default_sampler,
    denoised,
)

CONFIG = {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "clip_sample": False, "steps_offset": 1}
SCHEDULE = read_schedule(CONFIG)
MIXTURE = Mixture.of_covariances(
    torch.tensor([0.4, 0.6]).double(),
    torch.tensor([[0.8, 0.1], [-0.6, 0.0]]).double(),
    torch.tensor([0.05, 0.1]).double(),
)
EXACT = MixtureDenoiser(MIXTURE, SCHEDULE.path)


def unet(x, time):
    """The noise that the exact denoiser sees, as a network of diffusers is asked for it."""
    return EXACT.estimate(x, SCHEDULE.level(float(time))).noise


def pipeline(scheduler, x, steps, begin=0):
    """The loop of a pipeline of diffusers."""
    scheduler.set_timesteps(steps)
    for time in scheduler.timesteps[begin:]:
        given = scheduler.scale_model_input(x, time)
        x = scheduler.step(unet(given, time), time, x, return_dict=False)[0]
    return x


def start(count=7):
    return Draws.of(3, range(count)).normal((2,), torch.float64)


SAMPLERS = [
    Sampler(DDIM, DDIMStrided(1000)),
    Sampler(DPMSolverPP2M, UniformLogSNR()),
    Sampler(Heun(), UniformLogSNR()),
    Sampler(Heun(Churn(40.0)), UniformLogSNR()),
    Sampler(UniPC(), UniformLogSNR()),
    Sampler(DDPM, DDIMStrided(1000)),
    Sampler(DDIM, UniformLogSNR(to_clean=False), denoised),
    default_sampler(SCHEDULE.path, 11),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s.step).__name__ + ("-finished" if s.finish else ""))
def test_a_pipeline_gives_what_our_loop_gives(sampler):
    scheduler, x = Scheduler(SCHEDULE, lambda n: sampler, seed=5), start()
    found = pipeline(scheduler, x, 11)
    draws = Draws.of(5, range(len(x)), "scheduler")
    ours = sampler.sample(EXACT, x, 11, draws)
    torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-5)
    assert len(scheduler.timesteps) <= 11


def test_it_is_reused_and_its_noise_follows_the_generator():
    scheduler = Scheduler.of(CONFIG, lambda n: Sampler(DDPM, DDIMStrided(1000)))
    torch.testing.assert_close(pipeline(scheduler, start(), 6), pipeline(scheduler, start(), 6))

    def drawn(generator):
        scheduler.set_timesteps(3)
        x = start(2)
        for time in scheduler.timesteps:
            x = scheduler.step(unet(x, time), time, x, generator=generator).prev_sample
        return x

    one, other = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    torch.testing.assert_close(drawn(one), drawn(torch.Generator().manual_seed(1)))
    assert float((drawn(one) - drawn(other)).abs().max()) > 1e-3
    torch.testing.assert_close(drawn([other, one])[1:], drawn([one, one])[1:])


def test_from_a_noised_picture():
    """As image-to-image pipelines do: add noise at a time in the middle and go on from there."""
    scheduler = Scheduler.of(CONFIG, lambda n: Sampler(DDIM, DDIMStrided(1000)))
    scheduler.set_timesteps(10)
    clean, noise = torch.full((3, 2), 0.5).double(), start(3)
    time = scheduler.timesteps[6]
    noised = scheduler.add_noise(clean, noise, time.expand(3))
    torch.testing.assert_close(noised, SCHEDULE.path.mix(clean, noise, SCHEDULE.level(float(time))))
    scheduler.set_begin_index(6)
    found = pipeline(scheduler, noised, 10, 6)
    levels = DDIMStrided(1000)(SCHEDULE.path, 10)[6:]
    from pushforward.samplers import simulate

    torch.testing.assert_close(
        found, simulate(EXACT, DDIM, noised, levels, Draws.of(0, range(3))), rtol=1e-4, atol=1e-5
    )


def test_what_a_pipeline_changes_between_steps_is_taken_over():
    """Inpainting pipelines put the known part back after every step."""
    scheduler, x = Scheduler.of(CONFIG, lambda n: Sampler(DDIM, DDIMStrided(1000))), start()
    scheduler.set_timesteps(5)
    y = x.clone()
    levels = DDIMStrided(1000)(SCHEDULE.path, 5)
    for i, time in enumerate(scheduler.timesteps):
        x = scheduler.step(unet(x, time), time, x).prev_sample
        x[:, 0] = 0.25
        [move] = DDIM.plan(SCHEDULE.path, levels[i : i + 2])
        y = DDIM(EXACT, y, move, None, Draws.of(0, range(len(y))))[0]
        y[:, 0] = 0.25
    torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_it_looks_like_a_scheduler():
    scheduler = Scheduler.of(CONFIG)
    assert scheduler.config.steps_offset == 1
    assert scheduler.config.get("clip_sample") is False
    assert not hasattr(scheduler.config, "nothing")
    assert (scheduler.order, len(scheduler)) == (1, 1000)
    assert scheduler.init_noise_sigma == pytest.approx(1.0, abs=1e-3)
    scheduler.set_timesteps(7)
    assert len(scheduler.timesteps) == 7
    assert bool((scheduler.timesteps.diff() < 0).all())


class Hasty(type(DDIM)):
    """DDIM that looks at another point than the one where it is."""

    def __call__(self, denoiser, x, move, memory, draws):
        return super().__call__(denoiser, x + 1, move, memory, draws)


def test_rules_that_cannot_be_run_so_are_refused():
    with pytest.raises(UserError, match="set_timesteps"):
        Scheduler(SCHEDULE).step(torch.zeros(1, 2), 5, torch.zeros(1, 2))
    with pytest.raises(UserError, match="before it first asks"):
        Scheduler(SCHEDULE, lambda n: Sampler(Hasty(), UniformLogSNR())).set_timesteps(9)
    with pytest.raises(UserError, match="adaptive"):
        Scheduler(SCHEDULE, lambda n: Sampler(AdaptiveDPMSolver(), UniformLogSNR())).set_timesteps(9)
