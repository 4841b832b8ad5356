"""Counted randomness: the algorithm against plain Python integers, then its statistics.

The draws are fixed by their keys, so a statistical test either always passes or always fails: the bounds can be tight
(|z| < 4.5, p > 1e-4 over the whole file) without a test that fails once in a while.
"""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pushforward.numerics import random as rnd
from pushforward.numerics.random import Draws, bits, integers, key, keys, normal, permutation, uniform

Z_MAX = 4.5
P_MIN = 1e-4
SEEDS = (0, 1, -1, 2**31, 123456789)
PINNED_KEY = 4752123856127514422
PINNED_BASE = -4650311871592291528
PINNED_NORMALS = [0.8486619, -1.0689188, -1.2871792, 0.0511215]
PINNED_ORDER = [4, 6, 2, 7, 3, 1, 0, 5]
int64s = st.integers(-(2**63), 2**63 - 1)


def correlation_z(a: torch.Tensor, b: torch.Tensor) -> float:
    """The correlation of two equal-sized samples in units of its standard deviation under independence."""
    a, b = a.double().flatten(), b.double().flatten()
    a, b = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    return float((a * b).mean()) * math.sqrt(len(a))


def assert_independent(a: torch.Tensor, b: torch.Tensor) -> None:
    """No correlation of the values, of their squares, or of one with the square of the other."""
    for f, g in ((a, b), (a**2, b**2), (a, b**2), (a**2, b)):
        assert abs(correlation_z(f, g)) < Z_MAX


def uniform_p(counts: torch.Tensor) -> float:
    """p-value of χ² against equal expected counts."""
    return float(stats.chisquare(counts.double().numpy()).pvalue)


# ---- the algorithm -------------------------------------------------------------------------------------------------


def reference_mix(x: int) -> int:
    mask = (1 << 64) - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def reference_word(k: int, i: int) -> int:
    """The documented formula in unbounded integers; the first draw has i = 1."""
    mask = (1 << 64) - 1
    k &= mask
    word = reference_mix(reference_mix((i * 0x9E3779B97F4A7C15 + k) & mask) ^ k)
    return word - (1 << 64) if word >> 63 else word


@given(int64s, st.integers(1, 40))
def test_words_are_the_documented_formula(k, count):
    assert bits(torch.tensor([k]), count)[0].tolist() == [reference_word(k, i) for i in range(1, count + 1)]


def test_long_blocks_start_like_short_ones():
    """Short counters come from a cache and long ones do not: the words are the same."""
    k = keys(3, range(2))
    assert torch.equal(bits(k, rnd._CACHED_COUNTERS + 5)[:, :100], bits(k, 100))


def test_draws_do_not_change_between_versions():
    """Pinned: a run stored by one version is continued exactly by the next."""
    assert key(0, "noise", 1) == PINNED_KEY
    draws = Draws.of(0, [5]).at(3, "noise")
    assert draws.base.tolist() == [PINNED_BASE]
    assert draws.normal((4,))[0].tolist() == pytest.approx(PINNED_NORMALS, abs=1e-6)
    assert permutation(key(0, "order"), 8).tolist() == PINNED_ORDER


# ---- keys ----------------------------------------------------------------------------------------------------------


def test_key_tells_types_order_and_grouping_apart():
    different = [(1,), ("1",), (1, 2), (2, 1), (12,), ("12",), ("1", "2"), ("1, 2",), (), ("",), (-1,), (0,), (2**64,)]
    assert len({key(*parts) for parts in different}) == len(different)


@pytest.mark.parametrize("first", [True, np.int64(1), torch.tensor(1), 1], ids=lambda part: type(part).__name__)
def test_key_of_an_integer_does_not_depend_on_its_type_or_on_what_was_asked_before(first):
    plain = key(1, "x")
    rnd._hash.cache_clear()
    assert key(first, "x") == plain == key(1, "x")


@pytest.mark.parametrize("part", [1.0, None, (1,), b"1"])
def test_key_refuses_what_is_neither_integer_nor_string(part):
    with pytest.raises(TypeError):
        key(1, part)


def test_keys_are_unique_over_slots_seeds_and_steps():
    slots = keys(key(0, "sample"), torch.arange(1_000_000))
    assert len(slots.unique()) == 1_000_000
    grid = torch.stack([keys(key(seed, "sample"), range(1000)) for seed in range(300)]).flatten()
    assert len(grid.unique()) == len(grid)
    steps = {key(seed, stream, step) for seed in range(20) for stream in ("noise", "time") for step in range(2000)}
    assert len(steps) == 20 * 2 * 2000
    base = Draws.of(0, range(1000))
    later = torch.cat([base.at(step, "noise").base for step in range(300)])
    assert len(later.unique()) == len(later)


def test_at_is_neither_commutative_nor_flat():
    draws = Draws.of(0, [0])
    ways = [draws.at("a").at("b"), draws.at("b").at("a"), draws.at("a", "b"), draws.at("a"), draws]
    assert len({int(way.base) for way in ways}) == len(ways)


def test_one_bit_of_the_key_or_the_counter_changes_half_of_the_bits():
    """Avalanche: each of the 64 output bits flips with probability ½, whichever input bit was flipped."""
    base = keys(7, range(2000))
    words = bits(base, 1)
    for bit in range(64):
        flipped = words ^ bits(base ^ rnd._signed(1 << bit), 1)
        counts = torch.stack([(flipped >> j) & 1 for j in range(64)]).double().sum((1, 2))
        z = (counts - 1000) / math.sqrt(500)
        assert z.abs().max() < 5.5  # 4,096 comparisons in all


# ---- alone or in a batch -------------------------------------------------------------------------------------------


@given(st.integers(-1000, 1000), st.lists(st.integers(0, 2**40), min_size=1, max_size=8), st.data())
def test_a_sample_gets_the_same_draws_alone_or_in_any_batch(seed, index, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), max_size=3)))
    i = data.draw(st.integers(0, len(index) - 1))
    batch = Draws.of(seed, index).at(3, "noise")
    alone = Draws.of(seed, [index[i]]).at(3, "noise")
    assert torch.equal(batch.base[i : i + 1], alone.base)
    assert torch.equal(batch.uniform(shape)[i], alone.uniform(shape)[0])
    assert torch.equal(batch.integers(10, shape)[i], alone.integers(10, shape)[0])
    assert torch.equal(batch[i : i + 1].uniform(shape), alone.uniform(shape))
    # log and cos are vectorised in groups whose remainder may round differently
    torch.testing.assert_close(batch.normal(shape)[i], alone.normal(shape)[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("batch", "shape"), [(1, (64,)), (16, (1, 8, 8)), (7, (17,)), (31, ()), (5, (3,))])
def test_few_numbers_are_bit_for_bit_those_of_many(batch, shape, dtype, monkeypatch):
    """Few are mixed by NumPy, many by torch; every other key is not contiguous in memory."""

    def drawn():
        draws = Draws.of(3, range(2 * batch)).at(1, "n")[::2]
        whole = [draws.normal(shape, dtype), draws.uniform(shape, dtype), draws.integers(10, shape)]
        return [draws.base, draws.at("x").base, bits(draws.base, 5), *whole]

    few = drawn()
    monkeypatch.setattr(rnd, "_FEW", -1)
    many = drawn()
    assert all(a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for a, b in zip(few, many, strict=True))


def test_draws_know_their_length_numbers_and_form(draws):
    d = draws(5)
    assert len(d) == 5 and d.at(1).index.tolist() == d.index.tolist() == [0, 1, 2, 3, 4]
    assert d[torch.tensor([4, 0])].index.tolist() == [4, 0]
    x = torch.zeros(5, 2, 3, dtype=torch.float64)
    assert d.normal_like(x).shape == x.shape and d.normal_like(x).dtype == x.dtype
    assert torch.equal(d.normal_like(x), d.normal((2, 3), torch.float64))
    assert not torch.equal(d.normal((4,)), draws(5, seed=1).normal((4,)))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_shapes_include_the_empty_ones(batch, shape):
    k = keys(0, range(batch))
    for drawn in (uniform(k, shape), normal(k, shape), integers(k, 5, shape)):
        assert drawn.shape == (batch, *shape)


# ---- uniforms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", SEEDS)
def test_uniforms_are_uniform(seed, dtype):
    u = uniform(keys(key(seed), range(100)), (2000,), dtype).flatten().double().numpy()
    n = u.size
    assert u.min() > 0 and u.max() < 1
    assert abs(u.mean() - 0.5) * math.sqrt(12 * n) < Z_MAX
    assert abs(u.var() - 1 / 12) * math.sqrt(180 * n) < Z_MAX
    assert stats.kstest(u, "uniform").pvalue > P_MIN


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_uniform_and_stay_inside(dtype):
    u = uniform(keys(0, range(100)), (2000,), dtype)
    assert u.dtype == dtype
    assert u.min() > 0 and u.max() < 1
    assert abs(float(u.double().mean()) - 0.5) * math.sqrt(12 * u.numel()) < Z_MAX


def test_float64_uniforms_use_more_than_float32_can_hold():
    k = keys(5, range(10))
    fine = uniform(k, (50_000,), torch.float64).flatten()
    assert len(fine.unique()) == len(fine)
    assert len(fine.float().unique()) < len(fine)  # control: 2²⁴ values do collide over 500,000 draws
    torch.testing.assert_close(uniform(k, (50_000,)).double().flatten(), fine, rtol=0, atol=2**-23)


@pytest.mark.parametrize("byte", range(8))
def test_every_byte_of_a_word_is_uniform(byte):
    words = bits(keys(11, range(100)), 2000).flatten()
    counts = torch.bincount((words >> (8 * byte)) & 255, minlength=256)
    assert uniform_p(counts) > P_MIN


def test_successive_uniforms_fill_the_cube_evenly():
    """χ² over 16³ cells of (u_i, u_{i+1}, u_{i+2}), within a block and across neighbouring keys."""
    u = (uniform(keys(2, range(300)), (300,)) * 16).long()
    for v in (u, u.T):
        cells = (v[:, :-2] * 16 + v[:, 1:-1]) * 16 + v[:, 2:]
        triples = cells[:, ::3].flatten()  # disjoint triples are independent
        assert uniform_p(torch.bincount(triples, minlength=4096)) > P_MIN


# ---- normals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_normal(seed, dtype):
    z = normal(keys(key(seed), range(100)), (2001,), dtype).flatten().double().numpy()
    n = z.size
    assert abs(z.mean()) * math.sqrt(n) < Z_MAX
    assert abs((z**2).mean() - 1) * math.sqrt(n / 2) < Z_MAX
    assert abs((z**3).mean()) * math.sqrt(n / 15) < Z_MAX
    assert abs((z**4).mean() - 3) * math.sqrt(n / 96) < Z_MAX
    assert stats.kstest(z, "norm").pvalue > P_MIN


def test_the_tails_have_the_right_weight():
    z = normal(keys(key(9, "tails"), range(100)), (20_000,)).abs().flatten()
    for threshold in (2.0, 3.0, 4.0):
        expected = len(z) * 2 * stats.norm.sf(threshold)
        assert abs(float((z > threshold).sum()) - expected) < Z_MAX * math.sqrt(expected)


def test_both_precisions_draw_the_same_normals():
    k = keys(4, range(20))
    torch.testing.assert_close(normal(k, (999,)).double(), normal(k, (999,), torch.float64), rtol=0, atol=1e-3)
    assert normal(k, (7,), torch.bfloat16).dtype == torch.bfloat16


def test_the_worst_words_give_finite_normals(monkeypatch):
    """All 64 bits 0, all 1, and the edges of both halves: log 0 and log of more than 1 never happen."""
    edges = torch.tensor([[0, -1, 1, 0xFFFFFFFF, -(1 << 32), 1 << 32, -(2**63), 2**63 - 1]])
    monkeypatch.setattr(rnd, "bits", lambda k, count: edges[:, :count].clone())
    for dtype in (torch.float32, torch.float64):
        z = normal(torch.zeros(1, dtype=torch.int64), (16,), dtype)
        assert z.isfinite().all() and z.abs().max() < 6.8
        u = uniform(torch.zeros(1, dtype=torch.int64), (8,), dtype)
        assert (u > 0).all() and (u < 1).all()


def test_ten_million_draws_are_finite_and_inside_their_bounds():
    for block in range(10):
        k = keys(key(block, "extremes"), range(1000))
        z, u = normal(k, (1000,)), uniform(k, (1000,))
        assert z.isfinite().all() and z.abs().max() < 6.8
        assert u.min() > 0 and u.max() < 1


# ---- independence --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return normal(keys(key(0, "table"), range(512)), (512,))


@pytest.mark.parametrize("lag", [1, 2, 3, 8, 64])
def test_neighbouring_indexes_are_independent(table, lag):
    assert_independent(table[:, :-lag], table[:, lag:])


@pytest.mark.parametrize("lag", [1, 2, 3, 8, 64])
def test_neighbouring_slots_are_independent(table, lag):
    assert_independent(table[:-lag], table[lag:])
    assert_independent(table[:-lag, :-lag], table[lag:, lag:])


def test_the_two_halves_of_a_block_are_independent(table):
    """The cosine and the sine of one pair share their radius: only independent if the pair is right."""
    assert_independent(table[:, :256], table[:, 256:])
    radius = table[:, :256] ** 2 + table[:, 256:] ** 2
    assert stats.kstest(radius.flatten().double().numpy() / 2, "expon").pvalue > P_MIN


def test_steps_streams_and_seeds_are_independent():
    draws = Draws.of(0, range(256))
    z = draws.at(0, "noise").normal((256,))
    others = [draws.at(1, "noise"), draws.at(0, "churn"), Draws.of(1, range(256)).at(0, "noise"), draws]
    for other in [*others, Draws.of(0, range(256), "train").at(0, "noise")]:
        assert_independent(z, other.normal((256,)))


def test_keys_that_are_near_each_other_are_independent():
    """Keys need not be hashes: k and k + 1, k and −k, and keys one counter step apart give unrelated blocks."""
    k = torch.arange(1, 257)
    z = normal(k, (512,))
    assert_independent(z[:-1], z[1:])
    assert_independent(z, normal(-k, (512,)))
    one_step = normal(k + rnd._GOLDEN, (512,))
    words, shifted = bits(k, 512), bits(k + rnd._GOLDEN, 512)
    assert not (words[:, 1:] == shifted[:, :-1]).any()
    assert_independent(z, one_step)


def test_the_independence_test_can_fail():
    """Control: without the key between the rounds, keys one counter step apart are shifted copies, and it shows."""

    def weak(k):
        return rnd._mix(rnd._mix(rnd._counters(512, k.device) + k.reshape(-1, 1)))

    a, b = weak(torch.arange(1, 257)), weak(torch.arange(1, 257) + rnd._GOLDEN)
    with pytest.raises(AssertionError):
        assert_independent(a[:, 1:].double(), b[:, :-1].double())


# ---- integers and permutations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [1, 2, 3, 7, 10, 1000])
def test_integers_are_unbiased(high):
    drawn = integers(keys(key("integers", high), range(200)), high, (1000,)).flatten()
    assert drawn.dtype == torch.int64 and drawn.min() >= 0 and drawn.max() < high
    counts = torch.bincount(drawn, minlength=high)
    assert high == 1 or uniform_p(counts) > P_MIN


def test_large_integers_are_unbiased():
    high = 3 * 2**40
    drawn = integers(keys(0, range(200)), high, (1000,)).flatten()
    assert stats.kstest(drawn.double().numpy() / high, "uniform").pvalue > P_MIN


def test_integers_of_different_slots_are_independent():
    drawn = integers(keys(1, range(60_000)), 12)
    assert drawn.shape == (60_000,)
    assert uniform_p(torch.bincount(drawn[::2] * 12 + drawn[1::2], minlength=144)) > P_MIN


@given(int64s, st.integers(0, 200))
def test_permutation_is_a_permutation(base, n):
    order = permutation(base, n)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(n))


def test_permutations_are_uniform():
    """All 24 orders of four items are equally frequent over the epochs of a run."""
    rank = {order: i for i, order in enumerate(permutations(range(4)))}
    drawn = [rank[tuple(permutation(key(0, "order", epoch), 4).tolist())] for epoch in range(4800)]
    assert uniform_p(torch.bincount(torch.tensor(drawn), minlength=24)) > P_MIN


def test_long_permutations_move_everything_everywhere():
    """Each item's place is uniform, and two epochs share about one place (fixed points are Poisson(1))."""
    orders = torch.stack([permutation(key(1, "order", epoch), 100) for epoch in range(400)])
    places = torch.stack([torch.bincount(orders[:, place] // 10, minlength=10) for place in range(100)])
    assert uniform_p(places.flatten()) > P_MIN
    shared = (orders[1:] == orders[:-1]).sum(1).double()
    assert abs(float(shared.mean()) - 1) * math.sqrt(len(shared)) < Z_MAX
