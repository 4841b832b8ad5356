"""Samplers of discrete diffusion on exact estimates: laws computed, not sampled, wherever that can be."""

import itertools
import math

import pytest
import torch

from pushforward.denoisers.categorical import GuidedJumps, JumpDenoiser, Tempered
from pushforward.denoisers.table_oracle import IndependentDenoiser, TableDenoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.amounts import Constant, LogLinear
from pushforward.paths.generators import Absorbing, BirthDeath, UniformJumps
from pushforward.paths.grids import Uniform
from pushforward.paths.jump import JumpPath
from pushforward.samplers.combinators import Project
from pushforward.samplers.jump import (
    JumpAncestral,
    JumpCorrected,
    JumpEuler,
    OrderedLeaping,
    TauLeaping,
    fixed,
    jump_once,
    simulate_jumps,
)
from pushforward.samplers.jump_exact import show_one_by_one, simulate_events, simulate_forward


def correlated(symbols=5, seed=0):
    """Two sites that know much of each other."""
    rng = torch.Generator().manual_seed(seed)
    table = torch.rand(symbols, symbols, generator=rng).double() ** 3 + 3 * torch.eye(symbols).double()
    return table / table.sum()


def chain(length=4, symbols=3):
    """A short Markov chain as a table."""
    rng = torch.Generator().manual_seed(0)
    rows = torch.rand(symbols, symbols, generator=rng).double() + 0.05
    rows = rows / rows.sum(1, keepdim=True)
    table = torch.full((symbols,), 1 / symbols).double()
    for _ in range(length - 1):
        table = table.unsqueeze(-1) * rows
    return table


def step_matrix(laws):
    """The law of all sites (X, D, S) as a matrix between the states of the whole: (X, S^D)."""
    out = laws[:, 0]
    for site in range(1, laws.shape[1]):
        out = (out[:, :, None] * laws[:, site][:, None, :]).flatten(1)
    return out


def final_law(denoiser, step, steps):
    """The law of the end of a simulation from the limit law, by matrices: what infinitely many samples would give."""
    path, sites = denoiser.path, denoiser.sites
    states = path.generator.states
    every = torch.tensor(list(itertools.product(range(states), repeat=sites)))
    law = path.generator.limit()
    for _ in range(sites - 1):
        law = (law[:, None] * path.generator.limit()).flatten()
    inner = step.step if isinstance(step, JumpCorrected) else step
    for t, s in itertools.pairwise(Uniform()(path, steps)):
        at = inner.law(denoiser.estimate(every, t), s)
        at = torch.nn.functional.pad(at, (0, states - at.shape[-1]))  # clean data have no mask
        law = law @ step_matrix(at / at.sum(-1, keepdim=True))
        if isinstance(step, JumpCorrected) and s.sigma > 0:
            estimate = denoiser.estimate(every, s)
            rates = estimate.reverse_rates + path.forward_rates(every, s)
            correct = step_matrix(jump_once(every, rates, step.multiplier * min(t.t - s.t, s.t)))
            for _ in range(step.corrections):
                law = law @ correct
    return law.reshape([states] * sites)[tuple([slice(path.generator.symbols)] * sites)]


def total_variation(denoiser, step, steps):
    return 0.5 * float((final_law(denoiser, step, steps) - denoiser.table).abs().sum())


@pytest.fixture(scope="module")
def pair():
    return TableDenoiser(correlated(), JumpPath(UniformJumps(5), Constant(5.0), t_min=1e-2))


@pytest.mark.parametrize("step", [TauLeaping(), JumpEuler(), JumpAncestral()], ids=lambda s: type(s).__name__)
def test_errors_halve_when_steps_double(pair, step):
    floor = total_variation(pair, step, 512)
    errors = [total_variation(pair, step, steps) - floor for steps in (32, 64, 128)]
    for coarse, fine in itertools.pairwise(errors):
        assert 1.7 < coarse / fine < 2.6


def test_the_corrector_is_worth_its_evaluations(pair):
    corrected = total_variation(pair, JumpCorrected(TauLeaping(), 2), 32)
    assert corrected < total_variation(pair, TauLeaping(), 64) + 0.01
    assert corrected < total_variation(pair, TauLeaping(), 32)


def test_ancestral_steps_of_one_site_are_exact_at_any_number():
    law = torch.tensor([0.5, 0.2, 0.25, 0.05])
    for path in (
        JumpPath(UniformJumps(4), Constant(30.0)),
        JumpPath(BirthDeath(4), Constant(60.0)),
        JumpPath(Absorbing(4), LogLinear()),
    ):
        for steps in (1, 3):
            assert total_variation(TableDenoiser(law, path), JumpAncestral(), steps) < 1e-12


def test_unmasking_in_parallel_costs_the_published_error():
    """Total variation of K steps with exact conditionals of a chain of 4 tokens of 3 symbols: first order in 1/K."""
    denoiser = TableDenoiser(chain(), JumpPath(Absorbing(3), LogLinear(), t_min=1e-9))
    errors = [total_variation(denoiser, JumpAncestral(), steps) for steps in (4, 8, 16)]
    for coarse, fine in itertools.pairwise(errors):
        assert 1.7 < coarse / fine < 2.3


def samples_law(x, symbols, sites):
    index = sum(x[:, d] * symbols ** (sites - 1 - d) for d in range(sites))
    return torch.bincount(index, minlength=symbols**sites).double() / len(x)


@pytest.mark.parametrize(
    "step", [TauLeaping(), JumpAncestral(), JumpCorrected(JumpEuler(), 1)], ids=lambda s: type(s).__name__
)
def test_samples_have_the_law_of_the_matrices(pair, step):
    n, steps = 20_000, 6
    draws = Draws.of(0, range(n), "sample")
    x = pair.path.prior(draws.at("prior"), (2,))
    x = simulate_jumps(pair, step, x, Uniform()(pair.path, steps), draws)
    wanted = final_law(pair, step, steps).flatten()
    distance = 0.5 * float((samples_law(x, 5, 2) - wanted).abs().sum())
    assert distance < 2 * math.sqrt(25 / (2 * math.pi * n))


def test_events_are_exact(pair):
    n = 3000
    draws = Draws.of(1, range(n), "events")
    level = pair.path.level(pair.path.t_max)
    x0 = pair.sample(draws.at("data"))
    x = simulate_forward(pair.path, x0, 1.0, draws.at("forward"))
    q = pair.path.generator.transition(float(pair.path.total(level)))
    forward = torch.einsum("ab,ax,by->xy", pair.table, q, q).flatten()
    floor = math.sqrt(25 / (2 * math.pi * n))
    assert 0.5 * float((samples_law(x, 5, 2) - forward).abs().sum()) < 1.6 * floor
    times = torch.logspace(0, -3, 12, dtype=torch.float64)
    back = simulate_events(pair, x, times, draws.at("back"))
    assert 0.5 * float((samples_law(back, 5, 2) - pair.table.flatten()).abs().sum()) < 1.6 * floor


def test_one_by_one_is_exact_and_keeps_what_is_known():
    table = chain()
    denoiser, n = TableDenoiser(table, JumpPath(Absorbing(3), LogLinear())), 6000
    draws = Draws.of(2, range(n), "one")
    x = show_one_by_one(denoiser, torch.full((n, 4), 3), draws)
    floor = math.sqrt(81 / (2 * math.pi * n))
    assert 0.5 * float((samples_law(x, 3, 4) - table.flatten()).abs().sum()) < 1.3 * floor
    start = torch.tensor([[3, 1, 3, 0]]).expand(n, -1)
    x = show_one_by_one(denoiser, start, draws)
    assert bool((x[:, [1, 3]] == torch.tensor([1, 0])).all())
    wanted = table[:, 1, :, 0] / table[:, 1, :, 0].sum()
    found = samples_law(x[:, [0, 2]], 3, 2).reshape(3, 3)
    assert 0.5 * float((found - wanted).abs().sum()) < 2 * math.sqrt(9 / (2 * math.pi * n))


def test_sites_fixed_by_projection(pair):
    known, where = torch.tensor([[3, 0]]).expand(500, -1), torch.tensor([[True, False]]).expand(500, -1)
    draws = Draws.of(3, range(500), "fixed")
    step = Project(JumpEuler(), fixed(pair.path, known, where))
    x = pair.path.prior(draws.at("prior"), (2,))
    x = simulate_jumps(pair, step, x, Uniform()(pair.path, 20), draws)
    assert bool((x[:, 0] == 3).all())
    truth, alone = float(pair.table[3, 3] / pair.table[3].sum()), float(pair.table[:, 3].sum())
    share = float((x[:, 1] == 3).double().mean())  # the other site follows it, if not as much as it should
    assert alone + 0.1 < share < truth


def test_kept_estimates_change_nothing_and_cost_less():
    class Counting(JumpDenoiser):
        def __init__(self, inner):
            self.inner, self.path, self.timeless, self.calls = inner, inner.path, True, 0

        def outside(self, x, level):
            self.calls += len(x)
            return self.inner.outside(x, level)

    laws = torch.rand(12, 6).double()
    path = JumpPath(Absorbing(6), LogLinear())
    draws, found, calls = Draws.of(0, range(20), "kept"), [], []
    for keep in (True, False):
        denoiser = Counting(IndependentDenoiser(laws, path))
        start = torch.full((20, 12), 6)
        found.append(simulate_jumps(denoiser, JumpAncestral(keep), start, Uniform()(path, 64), draws))
        calls.append(denoiser.calls)
    assert torch.equal(*found)
    assert calls[1] == 64 * 20 and calls[0] < 0.3 * calls[1]


def test_the_way_of_symbols_is_watched(pair):
    masked = TableDenoiser(pair.table, JumpPath(Absorbing(5), LogLinear()))
    draws, seen = Draws.of(6, range(30), "watched"), []
    start, levels = masked.path.prior(draws, (2,)), Uniform()(masked.path, 8)
    ways = [simulate_jumps(masked, JumpAncestral(), start, levels, draws, watch) for watch in (seen.append, None)]
    assert torch.equal(*ways) and torch.equal(seen[-1].x, ways[0])
    hidden = [int((each.x == 5).sum()) for each in seen]
    assert len(seen) == 8 and hidden == sorted(hidden, reverse=True) and hidden[-1] == 0


def test_guidance_and_temperature_are_powers_of_laws():
    path = JumpPath(Absorbing(3), LogLinear())
    one, other = (torch.tensor([law]).double() for law in ([0.7, 0.2, 0.1], [0.2, 0.3, 0.5]))
    guided = GuidedJumps(IndependentDenoiser(one, path), IndependentDenoiser(other, path), 2.0)
    x, level = torch.full((1, 1), 3), path.level(0.5)
    wanted = one**2 / other
    assert torch.allclose(guided.estimate(x, level).probabilities[0], wanted / wanted.sum())
    never = GuidedJumps(IndependentDenoiser(one * torch.tensor([1, 1, 0]), path), guided, 2.0)
    assert never.estimate(x, level).probabilities[0, 0, 2] == 0 and never.estimate(x, level).probabilities.sum() == 1
    cold = Tempered(IndependentDenoiser(one, path), 0.5).estimate(x, level).probabilities[0]
    assert torch.allclose(cold, one**2 / (one**2).sum())


def test_ordered_leaps_stay_in_range():
    law = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1]).double()
    path = JumpPath(BirthDeath(5), Constant(20.0))
    denoiser, n = IndependentDenoiser(law[None], path), 1500
    draws = Draws.of(0, range(n), "ordered")
    x = simulate_jumps(denoiser, OrderedLeaping(), path.prior(draws, (1,)), Uniform()(path, 250), draws.at("run"))
    assert 0.5 * float((samples_law(x, 5, 1) - law).abs().sum()) < 0.07
    with pytest.raises(UserError, match="no order"):
        OrderedLeaping().plan(JumpPath(Absorbing(3), LogLinear()), ())
