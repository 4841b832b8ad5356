"""Tables: the published schedules to their digits, exactness on the levels, and the choice of NCSN ladders."""

import math

import pytest
import torch

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import (
    VP,
    Table,
    cosine_betas,
    linear_betas,
    ncsn_ladder,
    sqrt_linear_betas,
    zero_terminal_snr,
)
from pushforward.paths.ncsn import ladder_levels, ladder_ratio, langevin_step, langevin_variance, largest_sigma


def test_published_terminal_values():
    assert float(Table.of_betas(linear_betas()).alphas[-1] ** 2) == pytest.approx(4.036e-5, rel=1e-3)
    bits = {}
    for name, betas in {
        "ddpm": linear_betas(),
        "stable": sqrt_linear_betas(),
        "latent": sqrt_linear_betas(1000, 0.0015, 0.0195),
    }.items():
        bar = float(Table.of_betas(betas).alphas[-1] ** 2)
        bits[name] = 0.5 * (bar + (1 - bar) - 1 - math.log(1 - bar)) / math.log(2)
    assert bits["ddpm"] == pytest.approx(2.91e-5, rel=3e-3)
    assert bits["stable"] == pytest.approx(3.37e-3, rel=3e-3)
    assert bits["latent"] == pytest.approx(1.03e-4, rel=5e-3)


@pytest.mark.parametrize(
    "betas", [linear_betas(), cosine_betas(), sqrt_linear_betas(), zero_terminal_snr(linear_betas())]
)
def test_a_table_is_exact_on_its_levels(betas):
    table = Table.of_betas(betas)
    alpha, sigma = table.scales(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    bar = torch.cumprod(1 - betas, 0)
    assert torch.allclose(alpha, bar.sqrt(), rtol=1e-9, atol=1e-12)
    assert torch.allclose(sigma, (1 - bar).sqrt(), rtol=1e-9)
    assert torch.allclose(table.betas, betas, rtol=1e-6, atol=1e-12)
    assert len(table) == 1000
    clean = table.level(0.0)
    assert (clean.alpha, clean.sigma) == (1.0, 0.0)


def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_first_level():
    betas = linear_betas()
    table = Table.of_betas(zero_terminal_snr(betas))
    assert table.level(1.0).alpha == 0.0
    assert table.level(1.0).sigma == pytest.approx(1.0)
    assert float(table.alphas[0]) == pytest.approx(float(1 - betas[0]) ** 0.5)


def test_cosine_betas_are_clipped_and_follow_the_cosine():
    betas = cosine_betas(1000)
    assert float(betas.max()) == 0.999
    bar = torch.cumprod(1 - betas, 0)
    half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float(bar[499]) == pytest.approx(half, rel=1e-9)


def test_the_table_of_a_thousand_levels_agrees_with_the_sde_to_a_thousandth():
    table, path = Table.of_betas(linear_betas()), VP()
    t = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    gap = (table.scales(t)[0] - path.scales(t)[0]).abs().max()
    assert 1e-4 < float(gap) < 2e-3


def test_ncsn_ladder_is_geometric_and_of_sigmas_keeps_the_data():
    ladder = ncsn_ladder()
    ratio = ladder[1:] / ladder[:-1]
    assert torch.allclose(ratio, ratio[0])
    table = Table.of_sigmas(ladder)
    alpha, sigma = table.scales(torch.tensor([1 / 232, 1.0], dtype=torch.float64))
    assert torch.allclose(alpha, torch.ones(2, dtype=torch.float64))
    assert sigma.tolist() == pytest.approx([0.01, 50.0])


def test_technique_1_the_first_sigma_is_the_largest_distance():
    points = Draws.of(0, range(300)).normal((2, 3), torch.float64)
    flat = points.flatten(1)
    brute = max(float((a - b).norm()) for a in flat for b in flat[:50])
    assert largest_sigma(points, chunk=64) >= brute
    assert largest_sigma(points, chunk=64) == pytest.approx(largest_sigma(points, chunk=7))


def test_technique_2_the_ratio_of_the_ladder():
    gamma = ladder_ratio(3072)
    assert gamma == pytest.approx(1.0398, abs=5e-5)
    assert ladder_levels(50.0, 0.01, gamma) == 219
    # the shared mass itself, by counting: radii of N(0, γ²σ²I) samples within 3σ of the sphere of level i
    radius = 1.0398 * (Draws.of(0, range(2000)).normal((3072,)).square().sum(1)).sqrt()
    inside = (radius - math.sqrt(3072)).abs() < 3 * 1.0398 * math.sqrt(0.5)
    assert float(inside.double().mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("largest", "levels", "updates", "published", "rel"),
    [(50, 232, 5, 6.2e-6, 0.01), (90, 500, 5, 3.3e-6, 0.02), (190, 1086, 3, 1.8e-6, 0.02), (348, 2311, 3, 9e-7, 0.01)],
)
def test_technique_4_gives_the_published_steps(largest, levels, updates, published, rel):
    ratio = (largest / 0.01) ** (1 / (levels - 1))
    assert langevin_step(ratio, updates) == pytest.approx(published, rel=rel)


def test_variance_of_annealed_langevin_on_a_point():
    """The recursion v ← (1 − α/σ²)²v + 2α level by level, and the closed form; NCSN 1.1111, NCSNv2 1.1283."""
    for largest, levels, step, updates, expected in ((1, 10, 2e-5, 100, 1.1111), (50, 232, 6.2e-6, 5, 1.1283)):
        share, ladder = step / 1e-4, ncsn_ladder(largest, 0.01, levels).flip(0)
        slow, fast, before = float(ladder[0]) ** 2, 1.0, float(ladder[0])
        for sigma in ladder.tolist():
            alpha = step * (sigma / 0.01) ** 2
            for _ in range(updates):
                slow = (1 - alpha / sigma**2) ** 2 * slow + 2 * alpha
            fast = langevin_variance(fast * (before / sigma) ** 2, share, updates)
            before = sigma
        assert slow / 1e-4 == pytest.approx(expected, abs=1e-4)
        assert fast == pytest.approx(slow / 1e-4, rel=1e-9)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: Table([1.0], [0.1, 0.2]), "equal length"),
        (lambda: Table([1.0, 1.0], [0.2, 0.1]), "increase"),
        (lambda: Table([0.9, math.nan], [0.1, 0.2]), "increase"),
        (lambda: Table.of_betas([0.1, 1.5]), "β"),
        (lambda: Table.of_betas([]), "equal length"),
        (lambda: ladder_ratio(0), "dim"),
        (lambda: ladder_levels(0.01, 50, 1.1), "smallest < largest"),
        (lambda: langevin_step(1.1, 0), "at least one update"),
    ],
)
def test_what_tables_refuse(bad, says):
    with pytest.raises(UserError, match=says):
        bad()
