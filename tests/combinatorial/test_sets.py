"""Independent sets against all subsets."""

from itertools import combinations

import numpy as np
import pytest
import torch

from pushforward.combinatorial.exact import largest_independent_set
from pushforward.combinatorial.features import features_of
from pushforward.combinatorial.independent_set import IndependentSet, near_largest, random_graphs
from pushforward.combinatorial.problem import gap
from pushforward.errors import UserError
from pushforward.numerics.random import Draws


def brute_force(edges: np.ndarray) -> int:
    n = len(edges)
    sizes = (k for k in range(n, 0, -1) for c in combinations(range(n), k) if not edges[np.ix_(c, c)].any())
    return next(sizes, 0)


def allowed(edges: np.ndarray, sets: np.ndarray) -> bool:
    return not (edges & sets[:, :, None] & sets[:, None]).any()


def graphs(count: int, n: int, p: float = 0.25) -> IndependentSet:
    return IndependentSet(random_graphs(Draws.of(0, range(count)), n, p))


def test_integer_programming_is_brute_force():
    problem = graphs(5, 11)
    for edges in problem.edges:
        found = largest_independent_set(edges)
        assert allowed(edges[None], found[None]) and found.sum() == brute_force(edges)


def test_every_step_gives_allowed_sets_that_grow():
    problem = graphs(8, 24)
    heat = np.abs(Draws.of(1, range(8)).normal((24,)).numpy())
    decoded = problem.decode(heat)
    improved, _ = problem.improve(decoded)
    kicked = problem.kick(improved, Draws.of(2, range(8)))
    for sets in (decoded, improved, kicked):
        assert allowed(problem.edges, sets)
    assert (problem.cost(improved) <= problem.cost(decoded)).all()
    assert (problem.cost(improved) < problem.cost(decoded)).any()
    free = ~improved & ~(problem.edges & improved[:, None]).any(2)
    assert not free.any()


def test_no_exchange_of_one_for_two_is_left():
    problem = graphs(4, 14)
    sets, _ = problem.improve(problem.decode(problem.nothing()))
    for edges, chosen in zip(problem.edges, sets, strict=True):
        for out in np.flatnonzero(chosen):
            rest = chosen.copy()
            rest[out] = False
            free = np.flatnonzero(~rest & ~(edges & rest).any(1))
            assert all(edges[a, b] for a, b in combinations(free, 2))


def test_the_search_finds_what_is_proved():
    problem = graphs(5, 18)
    sets = near_largest(problem, Draws.of(0, range(5)), 15)
    assert sets.sum(1).tolist() == [largest_independent_set(e).sum() for e in problem.edges]


def test_a_set_is_decoded_from_its_own_marks():
    problem = graphs(4, 20)
    sets = near_largest(problem, Draws.of(0, range(4)), 2)
    assert (problem.decode(problem.encode(sets) + 1e-9) == sets).all()


def test_an_instance_is_told_alone_as_in_a_batch():
    problem = graphs(4, 12)
    sparse = IndependentSet(np.concatenate((problem.edges, random_graphs(Draws.of(1, range(4)), 12, 0.05))))
    assert torch.equal(features_of(sparse)[:4], features_of(problem))
    assert torch.equal(features_of(sparse)[5:6], features_of(sparse.rows(np.array([5]))))


def test_a_smaller_set_has_a_gap_above_nothing():
    assert gap(np.array([-15.0, -16.0]), np.array([-16.0, -16.0])).tolist() == [1 / 16, 0.0]


def test_graphs_have_the_density_asked_for():
    edges = random_graphs(Draws.of(3, range(40)), 30, 0.15)
    share = edges.sum() / (40 * 30 * 29)
    assert abs(share - 0.15) < 4 * (0.15 * 0.85 / (40 * 435)) ** 0.5


def test_what_is_no_graph_is_refused():
    with pytest.raises(UserError, match="symmetric"):
        IndependentSet(np.triu(np.ones((1, 4, 4), dtype=bool), 1))
    with pytest.raises(UserError, match="probability"):
        random_graphs(Draws.of(0, [0]), 4, 1.5)
