"""Every grid on every path: the right count, decreasing, the right ends, the spacing it is named after."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import UserError
from pushforward.paths import (
    CLEAN,
    EDM,
    VE,
    VP,
    CosineVP,
    DDIMStrided,
    Karras,
    Nodes,
    Quadratic,
    Straight,
    SubVP,
    Table,
    Uniform,
    UniformLogSNR,
    linear_betas,
    zero_terminal_snr,
)
from pushforward.paths.grids import check_decreasing

PATHS = [
    VP(),
    SubVP(),
    VE(),
    EDM(),
    Straight(),
    CosineVP(),
    Table.of_betas(linear_betas()),
    Table.of_betas(zero_terminal_snr(linear_betas())),
]
GRIDS = [Uniform, Quadratic, UniformLogSNR, Karras]


@given(path=st.sampled_from(PATHS), grid=st.sampled_from(GRIDS), steps=st.integers(1, 40), to_clean=st.booleans())
def test_any_grid_on_any_path(path, grid, steps, to_clean):
    levels = grid(to_clean=to_clean)(path, steps)
    assert len(levels) == steps + 1
    check_decreasing(levels)
    assert levels[0].t == pytest.approx(path.t_max, abs=1e-12)
    if to_clean:
        assert levels[-1] is CLEAN
    else:
        assert levels[-1].t == pytest.approx(path.t_min, abs=1e-12)


@given(path=st.sampled_from([*PATHS]), steps=st.integers(1, 60))
def test_strided_grids_use_the_noisiest_level(path, steps):
    levels = DDIMStrided(100)(path, steps)
    assert len(levels) == steps + 1
    assert levels[0].t == pytest.approx(path.t_max)
    check_decreasing(levels)


def test_spacings():
    log_ratio = torch.tensor([level.log_ratio for level in UniformLogSNR(to_clean=False)(VP(), 20)])
    assert torch.allclose(torch.diff(log_ratio), torch.diff(log_ratio)[0], rtol=1e-4)
    times = torch.tensor([level.t for level in Uniform()(VP(), 20)[:-1]])
    assert torch.allclose(torch.diff(times), torch.diff(times)[0], rtol=1e-4)
    roots = torch.tensor([level.t**0.5 for level in Quadratic(to_clean=False)(VP(), 20)])
    assert torch.allclose(torch.diff(roots), torch.diff(roots)[0], rtol=1e-4)


def test_karras_grid_of_the_paper():
    """(σ_max^{1/ρ} + i/(n − 1)(σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ, then 0: 18 steps."""
    sigmas = [level.sigma for level in Karras()(EDM(), 18)]
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert sigmas == pytest.approx([*expected, 0.0], rel=1e-9)
    carried = [level.ratio for level in Karras()(Straight(t_min=0.002 / 1.002, t_max=80 / 81), 18)]
    assert carried == pytest.approx(sigmas, rel=1e-9)  # the same noise on another path


def test_strided_levels_are_those_of_the_table():
    levels = DDIMStrided(1000)(Table.of_betas(linear_betas()), 4)
    assert [level.t for level in levels] == [1.0, 0.75, 0.5, 0.25, 0.0]
    uneven = DDIMStrided(1000)(Table.of_betas(linear_betas()), 300)
    assert len(uneven) == 301  # the published stride gives 334


def test_nodes_are_the_same_noise_on_every_path_and_survive_a_round_trip():
    nodes = Nodes((-2.0, 0.0, 1.5))
    for path in (VP(), EDM(), Straight()):
        assert [level.log_ratio for level in nodes(path, 3)[:-1]] == pytest.approx([-2.0, 0.0, 1.5], abs=1e-9)
    for grid in (Karras(), Karras(to_clean=False)):
        levels = grid(EDM(), 7)
        again = Nodes.of(levels)(EDM(), 7)
        assert [a.sigma for a in again] == pytest.approx([b.sigma for b in levels], rel=1e-9)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: Uniform()(VP(), 0), "at least 1; got 0"),
        (lambda: Uniform()(VP(), 2.5), "whole number"),
        (lambda: Uniform()(VP(), True), "whole number"),
        (lambda: DDIMStrided(10)(VP(), 11), "at most 10 steps; got 11"),
        (lambda: check_decreasing(VP().levels([0.2, 0.5])), "must decrease"),
        (lambda: Nodes((1.0, 0.0)), "increase from noise to data"),
        (lambda: Nodes(()), "increase"),
        (lambda: Nodes((0.0, 1.0))(VP(), 5), "made for 2 steps; got 5"),
        (lambda: Nodes((-40.0, -30.0, 0.0))(EDM(), 3), "must decrease"),  # both beyond the path's noisiest level
    ],
)
def test_what_grids_refuse(bad, says):
    with pytest.raises(UserError, match=says):
        bad()


def test_grids_nest_where_they_should():
    fine, coarse = UniformLogSNR(to_clean=False)(VP(), 8), UniformLogSNR(to_clean=False)(VP(), 4)
    assert [a.t for a in fine[::2]] == pytest.approx([b.t for b in coarse], abs=1e-9)
    assert all(a.sigma > b.sigma for a, b in itertools.pairwise(fine))
