"""Samplers that spend what they need, grids found by dynamic programming, and how many steps a budget buys."""

import pytest
import torch

from pushforward.denoisers import estimate_variances
from pushforward.denoisers.reference import reference_flow
from pushforward.denoisers.variance import VarianceTable
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, VP, Straight, Table, UniformLogSNR
from pushforward.paths.table import linear_betas
from pushforward.samplers import (
    AdaptiveSampler,
    FlowSampler,
    Heun,
    OptimalGrid,
    Restart,
    default_sampler,
    evaluations,
    jump_costs,
    steps_for,
)


def starts(path, count):
    draws = Draws.of(0, range(count))
    return draws, path.prior(draws.normal((1,), torch.float64))


def test_adaptive_samplers_end_where_the_flow_does(bimodal):
    denoiser = bimodal(EDM())
    draws, x = starts(denoiser.path, 16)
    exact = reference_flow(denoiser, x, denoiser.path.t_max)
    for sampler, allowed in ((AdaptiveSampler(), 0.03), (FlowSampler(), 1e-3), (FlowSampler(1e-6), 1e-5)):
        seen = []
        found = sampler.sample(denoiser, x, 7, draws, observe=seen.append)
        assert float((found - exact).abs().median()) < allowed
        assert seen[-1].level == CLEAN and torch.equal(seen[-1].x, found)


def test_the_flow_starts_where_nothing_is_left_of_the_data(bimodal):
    denoiser = bimodal(Straight())
    draws, x = starts(denoiser.path, 64)
    found = FlowSampler(1e-6).sample(denoiser, x, 0, draws)
    fine = default_sampler(denoiser.path, 200).sample(denoiser, x, 200, draws)
    assert float((found - fine).abs().max()) < 0.02


@pytest.mark.parametrize("path", [EDM(), VP(), Straight(), Table.of_betas(linear_betas(60, 1e-3, 0.2))])
def test_the_optimal_grid_has_the_best_bound_of_its_candidates(bimodal, path):
    denoiser = bimodal(path)
    draws = Draws.of(0, range(400))
    levels = [level for level in UniformLogSNR(to_clean=False)(path, 12) if level.alpha > 0]
    table = estimate_variances(denoiser, denoiser.mixture.sample(draws), levels, draws)
    grid = OptimalGrid(table, 61)
    for steps in (1, 2, 7):
        found = grid(path, steps)
        assert len(found) == steps + 1 and found[0] == path.level(path.t_max) and found[-1] == CLEAN
    usual = UniformLogSNR()(path, 7)
    if not isinstance(path, Table):  # its candidates are its own levels
        assert bound(found[1:-1], table) <= bound(usual[1:-1], table) + 1e-9


def bound(levels, table):
    gamma = torch.tensor([table.gamma(level) for level in levels[::-1]], dtype=torch.float64)
    costs = jump_costs(levels[::-1], gamma)
    return float(costs.diagonal(1).sum())


def test_a_budget_buys_all_the_steps_that_it_can():
    path, whole = EDM(), default_sampler(EDM(), 20)
    step = Restart(whole.step, times=1, steps=5)
    for budget in (3, 7, 8, 20, 33):
        steps = steps_for(step, path, whole.grid, budget)
        assert evaluations(step, path, whole.grid(path, steps)) <= budget
        assert evaluations(step, path, whole.grid(path, steps + 1)) > budget
    assert [steps_for(Heun(), path, whole.grid, budget) for budget in (1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3]


def test_one_level_of_variances_is_a_grid_too():
    table = VarianceTable((0.0,), (0.5,))
    assert len(OptimalGrid(table)(VP(), 4)) == 5
