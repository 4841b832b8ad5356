"""Tours against brute force, Held–Karp against integer programming, moves against recomputed lengths."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from pushforward.combinatorial.exact import cp_sat_tour, held_karp, shortest_tour
from pushforward.combinatorial.greedy import merged
from pushforward.combinatorial.local_search import two_opt, two_opt_and_or_opt
from pushforward.combinatorial.problem import gap, search
from pushforward.combinatorial.tsp import (
    TravellingSalesman,
    check_cities,
    near_optimal,
    random_cities,
    random_tours,
    unit_square,
)
from pushforward.errors import PushforwardError, UserError
from pushforward.numerics.random import Draws


def instances(count: int, n: int, seed: int = 0) -> TravellingSalesman:
    return TravellingSalesman(random_cities(Draws.of(seed, range(count)), n))


def is_tour(tours: np.ndarray, n: int) -> bool:
    return bool((np.sort(tours, 1) == np.arange(n)).all())


def plain_length(distances: np.ndarray, tour) -> float:
    return sum(distances[tour[i - 1], tour[i]] for i in range(len(tour)))


def test_held_karp_is_brute_force():
    problem = instances(4, 7)
    for distances in problem.distances:
        best = min(plain_length(distances, (0, *rest)) for rest in permutations(range(1, 7)))
        assert plain_length(distances, held_karp(distances)) == pytest.approx(best)
        assert is_tour(held_karp(distances)[None], 7)


def test_integer_programming_is_held_karp():
    problem = instances(4, 10, 1)
    for distances in problem.distances:
        exact = plain_length(distances, held_karp(distances))
        tour = shortest_tour(distances)
        assert is_tour(tour[None], 10) and plain_length(distances, tour) == pytest.approx(exact, rel=1e-9)


def test_constraint_programming_is_integer_programming():
    pytest.importorskip("ortools")
    distances = instances(1, 14, 2).distances[0]
    assert plain_length(distances, cp_sat_tour(distances)) == pytest.approx(
        plain_length(distances, shortest_tour(distances)), rel=1e-5
    )


def test_clusters_need_cuts():
    """Two far groups: without cuts two tours are shorter than one."""
    near = random_cities(Draws.of(3, [0]), 6)[0]
    problem = TravellingSalesman(np.concatenate((near, near[:, ::-1] + 10))[None])
    assert plain_length(problem.distances[0], shortest_tour(problem.distances[0])) == pytest.approx(
        plain_length(problem.distances[0], held_karp(problem.distances[0]))
    )


def test_a_proof_does_not_depend_on_the_unit():
    """HiGHS takes a gap of 1e-6 for none: lengths far below it would leave any tour proved."""
    distances = instances(1, 9, 4).distances[0]
    best = plain_length(distances, held_karp(distances))
    for unit in (1e-9, 1e9):
        assert plain_length(distances, shortest_tour(distances * unit)) == pytest.approx(best, rel=1e-9)


def test_a_proof_keeps_to_its_seconds():
    with pytest.raises(PushforwardError, match="was not proved in 1e-06 s"):
        shortest_tour(instances(1, 30).distances[0], 1e-6)


@pytest.mark.parametrize("spoil", [np.nan, -1.0, 7.0])
def test_what_are_no_distances_is_refused(spoil):
    distances = instances(1, 6).distances[0].copy()
    distances[1, 2] = spoil
    for solver in (held_karp, shortest_tour):
        with pytest.raises(UserError, match="the same both ways"):
            solver(distances)


def every_reversal(distances: np.ndarray, tour: np.ndarray) -> float:
    n = len(tour)
    return min(
        plain_length(distances, [*tour[:i], *tour[i:j][::-1], *tour[j:]]) for i in range(n) for j in range(i + 2, n + 1)
    )


def test_two_opt_ends_where_no_reversal_helps():
    problem = instances(5, 12)
    start = random_tours(Draws.of(1, range(5)), 12)
    tours, moves = two_opt(problem.distances, start)
    assert is_tour(tours, 12) and (moves > 0).all()
    assert (problem.cost(tours) < problem.cost(start)).all()
    for distances, before, tour in zip(problem.distances, start, tours, strict=True):
        assert every_reversal(distances, tour) > plain_length(distances, tour) - 1e-9
        assert every_reversal(distances, before) < plain_length(distances, before) - 1e-9


def every_insertion(distances: np.ndarray, tour: np.ndarray) -> float:
    best, n = np.inf, len(tour)
    for size in (1, 2, 3):
        for start in range(n):
            turned = np.roll(tour, -start)
            part, rest = turned[:size], turned[size:]
            for k in range(1, len(rest)):
                for piece in (part, part[::-1]):
                    best = min(best, plain_length(distances, [*rest[:k], *piece, *rest[k:]]))
    return best


def test_or_opt_ends_where_no_insertion_helps():
    problem, start = instances(6, 13), random_tours(Draws.of(2, range(6)), 13)
    tours, _ = two_opt_and_or_opt(problem.distances, start)
    assert is_tour(tours, 13)
    only, _ = two_opt(problem.distances, start)
    for distances, tour in zip(problem.distances, tours, strict=True):
        assert every_insertion(distances, tour) > plain_length(distances, tour) - 1e-9
        assert every_reversal(distances, tour) > plain_length(distances, tour) - 1e-9
    pairs = zip(problem.distances, only, strict=True)
    assert any(every_insertion(d, t) < plain_length(d, t) - 1e-9 for d, t in pairs)


def slow_merge(scores: np.ndarray) -> set:
    """One instance, edge by edge, with sets: the same rule written in another way."""
    n = len(scores)
    edges = sorted(((i, j) for i in range(n) for j in range(i + 1, n)), key=lambda e: (-scores[e], e))
    parts, degree, kept = [{i} for i in range(n)], [0] * n, set()
    for i, j in edges:
        a, b = (next(p for p in parts if k in p) for k in (i, j))
        if degree[i] < 2 and degree[j] < 2 and a is not b:
            parts.remove(b)
            a |= b
            degree[i], degree[j] = degree[i] + 1, degree[j] + 1
            kept.add((i, j))
    return kept


def test_merging_is_the_rule_written_slowly():
    u = np.abs(Draws.of(5, range(6)).normal((11, 11)).numpy())
    scores = u + u.transpose(0, 2, 1)
    tours = merged(scores)
    assert is_tour(tours, 11)
    for one, tour in zip(scores, tours, strict=True):
        path = {tuple(sorted((int(a), int(b)))) for a, b in pairwise(tour)}
        assert path == slow_merge(one)


def test_a_tour_is_decoded_from_its_own_marks():
    problem = instances(6, 15)
    tours = random_tours(Draws.of(7, range(6)), 15)
    marks = problem.encode(tours)
    assert (marks.sum(2) == 2).all() and (marks == marks.transpose(0, 2, 1)).all()
    found = problem.decode(marks)
    assert np.allclose(problem.cost(found), problem.cost(tours))
    assert (problem.encode(found) == marks).all()


def test_the_search_finds_what_is_proved():
    problem = instances(6, 11)
    tours = near_optimal(problem, Draws.of(0, range(6)), kicks=15)
    optimum = np.array([plain_length(d, held_karp(d)) for d in problem.distances[:2]])
    assert np.allclose(problem.cost(tours)[:2], optimum)
    greedy = problem.cost(problem.decode(problem.nothing()))
    assert gap(greedy, problem.cost(tours)).mean() > 0.02  # the control is worse


def test_an_instance_does_not_depend_on_the_batch():
    problem, draws = instances(5, 9), Draws.of(4, range(5))
    together = near_optimal(problem, draws, 3)
    index = np.array([3])
    alone = near_optimal(problem.rows(index), Draws.of(4, [3]), 3)
    assert (together[3] == alone[0]).all()


def test_a_kick_is_a_tour_that_two_opt_does_not_know():
    problem = instances(8, 10)
    tours = near_optimal(problem, Draws.of(0, range(8)), 2)
    kicked = problem.kick(tours, Draws.of(1, range(8)))
    changed = np.abs(problem.encode(kicked) - problem.encode(tours)).sum((1, 2)) / 2
    assert is_tour(kicked, 10) and (changed > 4).any() and (changed <= 8).all()  # a reversal changes 2 + 2 edges
    assert search(problem, kicked, Draws.of(2, range(8)), 0).shape == tours.shape


@pytest.mark.parametrize(
    ("cities", "words"),
    [
        ([[0, 0]], "at least 3 cities; there is 1"),
        ([[0, 0], [1, 1], [0, 0]], "cities 1 and 3 are in the same place"),
        ([[0, 0], [1, np.nan], [2, 2]], "city 2 has a coordinate"),
        ([[0, 0, 1]] * 3, "two columns"),
        ([[0, 0], [1, 1e301], [2, 2]], "take another unit"),
    ],
)
def test_bad_cities_are_named(cities, words):
    with pytest.raises(UserError, match=words):
        check_cities(np.array(cities, dtype=float))


def test_a_bad_instance_of_many_is_named():
    cities = random_cities(Draws.of(0, range(3)), 5)
    cities[1, 4] = cities[1, 0]
    with pytest.raises(UserError, match="instance 2: cities 1 and 5 are in the same place"):
        TravellingSalesman(cities)
    cities[1, 4] = np.nan
    with pytest.raises(UserError, match="instance 2: city 5 has a coordinate"):
        TravellingSalesman(cities)


def test_lengths_have_no_unit():
    for unit in (1e-200, 1e200):
        far = TravellingSalesman(instances(2, 6).cities * unit)
        assert (far.decode(far.nothing()) == instances(2, 6).decode(far.nothing())).all()
        assert np.allclose(far.distances / unit, instances(2, 6).distances)


def test_every_instance_has_a_key_of_its_own():
    problem = instances(3, 6)
    with pytest.raises(UserError, match="each of the 3 instances"):
        search(problem, problem.decode(problem.nothing()), Draws.of(0, [0]), 1)


def test_bad_heat_is_named():
    problem = instances(2, 5)
    for heat in (np.ones((2, 4, 4)), -problem.nothing(), problem.nothing() * np.nan):
        with pytest.raises(UserError, match="heat"):
            problem.decode(heat)


def test_the_unit_square_keeps_the_shape():
    cities = random_cities(Draws.of(0, [0]), 8)[0] * 700 - 40
    inside = unit_square(cities)
    assert inside.min() == 0 and inside.max() == pytest.approx(1)
    a, b = (TravellingSalesman(c[None]).distances[0] for c in (cities, inside))
    ratio = a[0, 1:] / b[0, 1:]
    assert np.allclose(ratio, ratio[0])
