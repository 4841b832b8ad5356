"""The optimal trajectory against the paper's formulas, exhaustive search and the uniform trajectory."""

from __future__ import annotations

import itertools

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.paths import CLEAN, Table, linear_betas
from pushforward.samplers import cheapest_chain, jump_costs, optimal_trajectory

PATH = Table.of_betas(linear_betas(100, 1e-3, 0.2))
LEVELS = PATH.levels([k / 100 for k in range(1, 101)])
ALPHA, SIGMA = PATH.alphas, PATH.sigmas
GAMMA = SIGMA**2 / (ALPHA**2 * 0.25 + SIGMA**2)  # of N(0, 1/4)


def test_costs_are_the_published_ones():
    """log(1 − β_{r|s} Γ_r/β̄_r) with β_{r|s} = 1 − ᾱ_r/ᾱ_s (Bao et al. 2022, theorem 3)."""
    costs = jump_costs(LEVELS, GAMMA)
    for s, r in ((0, 1), (3, 50), (40, 99)):
        beta = 1 - (ALPHA[r] / ALPHA[s]) ** 2
        assert float(costs[s, r]) == pytest.approx(float(torch.log(1 - beta * GAMMA[r] / SIGMA[r] ** 2)), rel=1e-9)
    assert torch.isinf(costs.tril()[torch.tril_indices(100, 100).unbind()]).all()


@pytest.mark.parametrize("jumps", [1, 2, 3, 6])
def test_dynamic_programming_finds_the_best_of_all_chains(jumps):
    costs = jump_costs(LEVELS[::13], GAMMA[::13])
    n = len(costs)
    every = [(0, *inner, n - 1) for inner in itertools.combinations(range(1, n - 1), jumps - 1)]
    best = min(every, key=lambda chain: sum(float(costs[a, b]) for a, b in itertools.pairwise(chain)))
    assert tuple(cheapest_chain(costs, jumps)) == best


def total(costs, indices):
    return sum(float(costs[a, b]) for a, b in itertools.pairwise(indices))


def test_on_gaussian_data_all_trajectories_are_equally_good():
    """Analytic-DPM is exact there at any number of steps, so the bound cannot depend on the way."""
    costs = jump_costs(LEVELS, GAMMA)
    direct = float(costs[0, 99])
    for inner in ([50], [1, 2, 3], [10, 90], list(range(1, 99))):
        assert total(costs, [0, *inner, 99]) == pytest.approx(direct, rel=1e-9)


def test_the_optimal_trajectory_bounds_better_than_the_uniform_one():
    points = MixtureDenoiser(Mixture.of_points(torch.tensor([[-1.0], [1.0]], dtype=torch.float64)), PATH)
    z = torch.linspace(-6, 6, 801, dtype=torch.float64)[:, None]
    density = torch.exp(-(z**2) / 2) / torch.exp(-(z**2) / 2).sum()
    gamma = torch.stack([(density * points(v.alpha + v.sigma * z, v).noise ** 2).sum() for v in LEVELS])
    costs = jump_costs(LEVELS, gamma)
    levels = optimal_trajectory(LEVELS, gamma, 10)
    assert len(levels) == 11
    assert levels[0] == LEVELS[-1]
    assert levels[-2:] == (LEVELS[0], CLEAN)
    chosen = sorted(LEVELS.index(level) for level in levels[:-1])
    uniform = torch.linspace(0, 99, 10).round().int().tolist()
    assert total(costs, chosen) < total(costs, uniform) - 0.1


def test_impossible_trajectories_are_refused():
    with pytest.raises(UserError, match="2 to 100 steps; got 101"):
        optimal_trajectory(LEVELS, GAMMA, 101)
    with pytest.raises(UserError, match="one value of Γ per level"):
        jump_costs(LEVELS, GAMMA[:5])
    with pytest.raises(UserError, match="admit 1 to 99 jumps"):
        cheapest_chain(jump_costs(LEVELS, GAMMA), 0)
