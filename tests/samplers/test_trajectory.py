"""The optimal trajectory against the paper's formulas, exhaustive search and the uniform trajectory."""

from __future__ import annotations

import itertools

import pytest
import torch

from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.errors import UserError
from pushforward.paths import CLEAN, Table, linear_betas
from pushforward.samplers import cheapest_chain, jump_costs, optimal_trajectory
from pushforward.samplers.trajectory import below_one

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


def gamma_of_two_points():
    points = MixtureDenoiser(Mixture.of_points(torch.tensor([[-1.0], [1.0]], dtype=torch.float64)), PATH)
    z = torch.linspace(-6, 6, 801, dtype=torch.float64)[:, None]
    density = torch.exp(-(z**2) / 2) / torch.exp(-(z**2) / 2).sum()
    return torch.stack([(density * points(v.alpha + v.sigma * z, v).noise ** 2).sum() for v in LEVELS])


def test_the_optimal_trajectory_bounds_better_than_the_uniform_one():
    gamma = gamma_of_two_points()
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


@pytest.mark.parametrize("wrong", [slice(99, 100), slice(60, 100), slice(70, 75), slice(0, 3)])
def test_estimates_of_no_variance_do_not_make_jumps_free(wrong):
    """Γ = 1 would make one jump to the data as good as any number of them."""
    spoiled = GAMMA.clone()
    spoiled[wrong] = 1.0 + torch.linspace(0, 0.01, len(spoiled[wrong]), dtype=torch.float64)
    repaired = below_one(spoiled, SIGMA / ALPHA)
    assert float(repaired.max()) < 1
    assert torch.equal(repaired[spoiled < 1], GAMMA[spoiled < 1])
    costs = jump_costs(LEVELS, spoiled)
    assert float(costs[0, 99]) > float(torch.log((ALPHA[99] * SIGMA[0] / (ALPHA[0] * SIGMA[99])) ** 2)) + 0.1


def test_a_trajectory_survives_wrong_estimates_at_the_noisy_end():
    gamma = gamma_of_two_points()
    spoiled = gamma.clone()
    spoiled[60:] = 1.0
    costs = jump_costs(LEVELS, gamma)
    best, found = (cheapest_chain(jump_costs(LEVELS, one), 9) for one in (gamma, spoiled))
    assert total(costs, found) <= total(costs, best) + 0.05


def test_a_repaired_variance_is_that_of_the_nearest_cleaner_level():
    spoiled = GAMMA.clone()
    spoiled[80:] = 1.0
    var = (1 - below_one(spoiled, SIGMA / ALPHA)) * (SIGMA / ALPHA) ** 2
    torch.testing.assert_close(var[80:], var[79].expand(20), rtol=1e-9, atol=0)


def test_a_trajectory_without_any_variance_is_refused():
    with pytest.raises(UserError, match="Γ < 1"):
        optimal_trajectory(LEVELS, torch.ones(100), 10)
