"""log Z of densities where it is known: within its error, whose size is the right one; bounds on both sides."""

from __future__ import annotations

import math

import pytest
import torch
from tests.energy.worlds import LOG_Z, PATH, NoisyMixture, fitted, mixture, unnormalised

from pushforward.energy import (
    HMC,
    MALA,
    NoiseLadder,
    Schedule,
    Tempered,
    anneal,
    bennett,
    descend,
    effective_size,
    fit_schedule,
    log_mean,
)
from pushforward.energy.ais import check_rungs
from pushforward.energy.estimate import Normaliser, estimate_log_z, sample_annealed
from pushforward.energy.log_z import LogZ
from pushforward.errors import NumericalError, UserError
from pushforward.numerics.random import Draws


def tempered(dim):
    world = mixture(dim)
    return Tempered(fitted(world), unnormalised(world))


def noise(dim, last=PATH.t_min):
    world = mixture(dim)
    base = fitted(world).moments
    return NoiseLadder(NoisyMixture(world), base, PATH.level(0.5), PATH.level(last), torch.float64)


@pytest.mark.parametrize("dim", [1, 4, 10])
def test_log_z_is_found_within_its_error_by_tempering(dim):
    found = estimate_log_z(tempered(dim), HMC(0.1, 3), Draws.of(0, range(600)), rungs=40)
    assert found.trusted and 0.002 < found.standard_error < 0.08
    assert found.value == pytest.approx(LOG_Z, abs=4 * found.standard_error)


def test_the_error_covers_the_truth_as_often_as_it_says():
    """30 seeds: the miss in units of the error is a standard normal, nearly."""
    ladder, misses = tempered(2), []
    schedule = fit_schedule(ladder, HMC(0.1, 2), Draws.of(99, range(64)), 12)
    for seed in range(30):
        found = log_mean(anneal(schedule, Draws.of(seed, range(100))).log_weight)
        misses.append((found.value - LOG_Z) / found.standard_error)
    z = torch.tensor(misses)
    assert abs(float(z.mean())) < 4 / math.sqrt(30)
    assert 0.65 < float(z.square().mean().sqrt()) < 1.45
    assert int((z.abs() < 1.96).sum()) >= 25


def test_up_is_below_and_down_from_exact_samples_is_above_and_both_together_are_nearest():
    ladder, draws = tempered(3), Draws.of(1, range(400))
    schedule = fit_schedule(ladder, HMC(0.1, 2), draws.at("pilot")[:64], 8)
    up = anneal(schedule, draws).log_weight
    down = descend(schedule, mixture(3).sample(draws.at("exact")), draws.at("down")).log_weight
    assert float(up.mean()) < LOG_Z - 0.1 and float(down.mean()) > LOG_Z + 0.1
    both = bennett(up, down)
    assert both.value == pytest.approx(LOG_Z, abs=4 * both.standard_error)
    assert both.standard_error < log_mean(up).standard_error
    assert -log_mean(-down).value == pytest.approx(LOG_Z, abs=0.3)


def test_annealing_in_noise_finds_log_z_whatever_the_constants_of_the_levels():
    ladder = noise(4)
    wanted = ladder.energy.constant(PATH.level(PATH.t_min))
    found = estimate_log_z(ladder, HMC(0.5, 2), Draws.of(2, range(400)), rungs=40)
    assert found.trusted
    assert found.value == pytest.approx(wanted, abs=4 * found.standard_error)


def test_on_gaussian_data_all_weights_are_equal_as_points_are_carried():
    world = mixture(3, components=1)
    base = fitted(world).moments
    ladder = NoiseLadder(NoisyMixture(world), base, PATH.level(0.5), PATH.level(0.01), torch.float64)
    schedule = Schedule(ladder, (0.0, 0.3, 1.0), (MALA(0.1), MALA(0.01)))
    x = world.sample(Draws.of(3, range(20)))
    x = x + 0.2 * Draws.of(4, range(20)).normal((3,), torch.float64)
    for run in (anneal(schedule, Draws.of(5, range(20))), descend(schedule, x, Draws.of(6, range(20)))):
        wanted = torch.full((20,), ladder.energy.constant(PATH.level(0.01)), dtype=torch.float64)
        assert torch.allclose(run.log_weight, wanted, atol=1e-8)
    assert ladder.level(0.0).sigma == 10.0 and ladder.level(1.0).sigma == pytest.approx(0.2)
    assert ladder.level(0.5).sigma == pytest.approx(math.sqrt(2.0))


def test_ladders_of_noise_that_rise_are_refused():
    with pytest.raises(UserError, match="falls between two levels"):
        noise(2, last=0.9)


def test_annealed_samples_have_the_weights_of_far_modes_and_do_not_depend_on_the_batch():
    world = mixture(2)
    ladder = noise(2)
    draws = Draws.of(6, range(1500))
    x = sample_annealed(ladder, HMC(0.3, 2), draws, 25)
    error = (world.covariance().diagonal() / 1500).sqrt()
    assert ((x.mean(0) - world.mean()).abs() < 5 * error).all()
    assert torch.allclose(torch.cov(x.T), world.covariance(), atol=0.15)
    some = sample_annealed(ladder, HMC(0.3, 2), draws[torch.tensor([3, 70])], 25)
    assert torch.allclose(some, x[[3, 70]], atol=1e-8)


def test_estimates_do_not_depend_on_how_chains_are_cut_into_batches():
    ladder, draws = tempered(2), Draws.of(7, range(50))
    whole, parts = (
        estimate_log_z(ladder, MALA(0.1), draws, rungs=5, data=mixture(2).sample(draws), batch_size=size)
        for size in (50, 7)
    )
    assert whole.value == pytest.approx(parts.value, abs=1e-9)
    assert whole.upper is not None and parts.upper is not None
    assert whole.upper.value == pytest.approx(parts.upper.value, abs=1e-9)


def test_rungs_are_set_closer_where_the_weights_spread():
    schedule = fit_schedule(tempered(6), HMC(0.1, 2), Draws.of(8, range(64)), 20)
    check_rungs(schedule.rungs)
    spread = anneal(schedule, Draws.of(9, range(300))).increments.std(1)
    even = Schedule(schedule.ladder, tuple(k / 20 for k in range(21)), schedule.kernels)
    uneven = anneal(even, Draws.of(9, range(300))).increments.std(1)
    assert 1.3 * float(spread.max() / spread.median()) < float(uneven.max() / uneven.median())
    assert float(spread.square().sum()) < float(uneven.square().sum())


def test_averages_of_weights():
    log_w = torch.log(torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)) + 1000
    found = log_mean(log_w)
    assert found.value == pytest.approx(math.log(3.0) + 1000, abs=0.1)
    assert effective_size(log_w) == pytest.approx(144 / 50)
    assert effective_size(torch.tensor([0.0, -1e3])) == pytest.approx(1.0)
    lonely = log_mean(torch.tensor([0.0] * 9 + [80.0]))
    assert lonely.standard_error > 10  # one chain carries all: the error says so
    assert not LogZ(*lonely, 1.0, 10, 0.5).trusted
    with pytest.raises(NumericalError):
        log_mean(torch.tensor([0.0, math.inf]))


def test_the_normaliser_keeps_and_forgets():
    kept = Normaliser(2)
    with pytest.raises(UserError, match="label 1, items without a label"):
        kept.of(torch.tensor([1, 2]), 2)
    kept.keep(1, LogZ(2.0, 0.1, 50.0, 100, 0.6))
    values, errors = kept.of(torch.tensor([1, 1]), 2)
    assert values.tolist() == [2.0, 2.0] and errors.tolist() == pytest.approx([0.1, 0.1])
    again = Normaliser(2)
    again.load_state_dict(kept.state_dict())
    assert again.of(torch.tensor([1]), 1)[0].item() == 2.0
    kept.forget()
    with pytest.raises(UserError, match="estimate_log_z"):
        kept.of(torch.tensor([1]), 1)
    with pytest.raises(UserError, match="no label 2"):
        kept.row(2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: check_rungs((0.0, 0.5, 0.4, 1.0)),
        lambda: check_rungs((0.1, 1.0)),
        lambda: Schedule(tempered(1), (0.0, 1.0), (), 1),
        lambda: fit_schedule(tempered(1), MALA(0.1), Draws.of(0, range(4)), 0),
        lambda: estimate_log_z(tempered(1), MALA(0.1), Draws.of(0, range(1))),
        lambda: sample_annealed(tempered(1), MALA(0.1), Draws.of(0, range(2)), 0),
        lambda: log_mean(torch.zeros(1)),
        lambda: bennett(torch.zeros(0), torch.zeros(3)),
    ],
)
def test_mistakes_are_said(make):
    with pytest.raises(UserError):
        make()
