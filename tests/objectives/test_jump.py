"""Bounds of discrete diffusion with exact estimates are entropies; the closed forms agree with the general one."""

import itertools
import math

import numpy as np
import pytest
import torch

from pushforward.denoisers.table_oracle import IndependentDenoiser, TableDenoiser
from pushforward.numerics.random import Draws
from pushforward.objectives.jump import (
    auxiliary,
    jump_bound,
    jump_loss,
    masked_gap,
    prior_gap,
    rate_gap,
)
from pushforward.objectives.masked import Blocks, hide, masked_bound, masked_loss
from pushforward.paths.amounts import Constant, Geometric, LogLinear
from pushforward.paths.generators import Absorbing, BirthDeath, UniformJumps, gaussian_jumps
from pushforward.paths.jump import JumpPath

LAW = torch.tensor([0.5, 0.2, 0.25, 0.05], dtype=torch.float64)
ENTROPY = 1.16482  # published with the exercise


def markov_chain(length=4, symbols=3, seed=0):
    """A table of p(x) for a short Markov chain, and its entropy by the chain rule."""
    rng = torch.Generator().manual_seed(seed)
    start = torch.rand(symbols, generator=rng).double() + 0.1
    rows = torch.rand(symbols, symbols, generator=rng).double() + 0.05
    start, rows = start / start.sum(), rows / rows.sum(1, keepdim=True)
    table = torch.zeros([symbols] * length, dtype=torch.float64)
    for x in itertools.product(range(symbols), repeat=length):
        table[x] = start[x[0]] * math.prod(float(rows[a, b]) for a, b in itertools.pairwise(x))
    entropy, law = -(start * start.log()).sum(), start
    for _ in range(length - 1):
        entropy, law = entropy - (law[:, None] * rows * rows.log()).sum(), law @ rows
    return table, float(entropy)


def exact_bound(denoiser, nodes=400):
    """The whole bound for one site: Gauss–Legendre in √t, all x_0 and x_t summed, p_ref = q_T."""
    path, law = denoiser.path, denoiser.table
    u, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(nodes))
    low, high = path.t_min**0.5, path.t_max**0.5
    root, scale = low + (high - low) * (u + 1) / 2, (high - low) / 2
    total, states = 0.0, path.generator.states
    for r, w in zip(root.tolist(), weights.tolist(), strict=True):
        level = path.level(r * r)
        q = path.generator.transition(float(path.total(level)))
        for x0 in range(len(law)):
            x = torch.arange(states)[:, None]
            seen = q[x0] > 0
            gap = torch.zeros(states, dtype=torch.float64)
            gap[seen] = rate_gap(denoiser.estimate(x[seen], level), torch.full((int(seen.sum()), 1), x0))
            total += w * scale * 2 * r * float(law[x0] * (q[x0] * gap).sum())
    end = path.generator.transition(float(path.total(path.level(path.t_max))))
    reference = law @ end
    total += float((law[:, None] * (torch.xlogy(end, end) - torch.xlogy(end, reference))).sum())
    first = path.level(path.t_min)
    q = path.generator.transition(float(path.total(first)))
    x = torch.arange(states)[:, None]
    for x0 in range(len(law)):
        seen = q[x0] > 0
        nats = auxiliary(denoiser.estimate(x[seen], first), torch.full((int(seen.sum()), 1), x0))
        total += float(law[x0] * (q[x0][seen] * nats).sum())
    return total


@pytest.mark.parametrize(
    "path",
    [
        JumpPath(UniformJumps(4), Constant(1.2)),
        JumpPath(Absorbing(4), LogLinear(1e-3)),
        JumpPath(BirthDeath(4), Geometric(0.5, 100.0)),
        JumpPath(gaussian_jumps(4, 2.0, 2.0), Constant(2.0)),
    ],
    ids=["uniform", "absorbing", "birth-death", "gaussian"],
)
def test_the_bound_with_exact_estimates_is_the_entropy(path):
    denoiser = TableDenoiser(LAW, path)
    assert denoiser.entropy == pytest.approx(ENTROPY, abs=1e-5)
    assert exact_bound(denoiser, nodes=60) == pytest.approx(denoiser.entropy, abs=2e-5)


def test_a_wrong_estimate_costs_nats():
    path = JumpPath(UniformJumps(4), Constant(1.2))
    wrong = TableDenoiser(LAW.flip(0), path)
    truth = TableDenoiser(LAW, path)
    wrong.table, table = truth.table, wrong.table  # the bound weighs with the data, the estimate thinks otherwise
    wrong.outside = lambda x, level: torch.log(table).expand(len(x), 1, -1)
    assert exact_bound(wrong, nodes=40) > ENTROPY + 0.3


def test_masked_bound_of_a_markov_chain_is_its_entropy():
    table, entropy = markov_chain()
    denoiser = TableDenoiser(table, JumpPath(Absorbing(3), LogLinear()))
    x0 = torch.tensor(list(itertools.product(range(3), repeat=4)))
    total = 0.0
    for k in range(1, 5):
        for chosen in itertools.combinations(range(4), k):
            hidden = torch.zeros(1, 4, dtype=torch.bool)
            hidden[0, list(chosen)] = True
            log_p = denoiser.estimate(torch.where(hidden, 3, x0), denoiser.path.level(0.5)).log_probabilities
            nats = -(log_p.gather(-1, x0.unsqueeze(-1)).squeeze(-1) * hidden).sum(1)
            total += float((table.flatten() * nats).sum()) / k / math.comb(4, k)
    assert total == pytest.approx(entropy, abs=1e-10)
    n = 500
    draws = Draws.of(0, range(n), "chain")
    x0 = denoiser.sample(draws.at("data"))
    for estimate in (
        masked_bound(denoiser, x0, draws, 4).mean(0),
        masked_loss(denoiser, x0, draws),
        Blocks(2).bound(denoiser, x0, draws),
        Blocks(1).bound(denoiser, x0, draws),
    ):
        error = float(estimate.std()) / n**0.5
        assert abs(float(estimate.mean()) - entropy) < 4 * error


def test_one_site_a_block_is_the_chain_rule():
    table, _ = markov_chain()
    denoiser = TableDenoiser(table, JumpPath(Absorbing(3), LogLinear()))
    x0 = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    found = Blocks(1).bound(denoiser, x0, Draws.of(0, range(2), "x"))
    assert torch.allclose(found, -torch.log(torch.stack([table[tuple(x)] for x in x0.tolist()])))
    given = Blocks(1).bound(denoiser, x0, Draws.of(0, range(2), "x"), given=2)
    first = table.sum((2, 3))
    assert torch.allclose(found - given, -torch.log(torch.stack([first[tuple(x[:2])] for x in x0.tolist()])))


def test_sampled_bound_and_loss_agree_with_the_entropy():
    table, entropy = markov_chain(2, 4)
    denoiser = TableDenoiser(table, JumpPath(UniformJumps(4), Constant(8.0)))
    n = 1000
    draws = Draws.of(1, range(n), "bound")
    terms = jump_bound(denoiser, denoiser.sample(draws.at("data")), draws, repeats=8)
    error = float(terms.total.std()) / n**0.5
    assert abs(float(terms.total.mean()) - entropy) < 4 * error + 2e-3


def test_the_masked_gap_is_the_general_one():
    table, _ = markov_chain()
    path = JumpPath(Absorbing(3), LogLinear(1e-3))
    denoiser = TableDenoiser(table, path)
    draws = Draws.of(0, range(50), "gap")
    x0 = denoiser.sample(draws.at("data"))
    for level in (path.level(0.3), path.level(torch.linspace(0.1, 0.9, 50))):
        estimate = denoiser.estimate(path.corrupt(x0, level, draws), level)
        assert torch.allclose(rate_gap(estimate, x0), masked_gap(estimate, x0), atol=1e-9)


@pytest.mark.parametrize("generator, amount", [(Absorbing(4), LogLinear(1e-3)), (UniformJumps(4), Constant(8.0))])
def test_the_mean_loss_is_the_bounds_integral(generator, amount):
    path = JumpPath(generator, amount)
    denoiser = IndependentDenoiser(LAW.expand(3, 4), path)
    n = 4000
    draws = Draws.of(0, range(n), "loss")
    x0 = torch.multinomial(LAW, 3 * n, replacement=True, generator=torch.Generator().manual_seed(0)).reshape(n, 3)
    loss = jump_loss(denoiser, x0, draws)
    rest = 0.0
    if isinstance(generator, UniformJumps):
        first = path.level(path.t_min)
        rest = float((prior_gap(path, x0) + auxiliary(denoiser(path.corrupt(x0, first, draws), first.t), x0)).mean())
    assert abs(float(loss.mean()) + rest - 3 * ENTROPY) < 4 * float(loss.std()) / n**0.5


def test_the_prior_gap_is_a_divergence():
    path = JumpPath(UniformJumps(5), Constant(1.0))
    q = path.generator.transition(1.0)
    wanted = float((q[2] * (q[2] * 5).log()).sum())
    assert float(prior_gap(path, torch.tensor([[2, 2]]))) == pytest.approx(2 * wanted)
    assert float(prior_gap(JumpPath(Absorbing(3), LogLinear()), torch.tensor([[1]]))) == 0.0
    assert math.isinf(float(prior_gap(JumpPath(Absorbing(3), LogLinear(1e-3)), torch.tensor([[1]]))))


def test_so_many_sites_are_hidden():
    count = torch.tensor([1, 4, 7])
    hidden = hide(7, count, Draws.of(0, range(3), "hide"))
    assert hidden.sum(1).tolist() == [1, 4, 7]
