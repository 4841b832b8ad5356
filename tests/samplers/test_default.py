"""The default sampler: its budget, its accuracy against everything else at every budget, its endings."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from pushforward.denoisers import Clipped, EDMPrediction, Guided, Mixture, MixtureDenoiser, NetworkDenoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import CLEAN, EDM, VP, Karras, Straight, UniformLogSNR
from pushforward.samplers import (
    DDIM,
    BalancedMultistep,
    BalancedQuantity,
    DPMSolverPP2M,
    Heun,
    Multistep,
    ShiftedLogGrid,
    UniPC,
    default_sampler,
    deviation,
    evaluations,
    half_denoised,
    simulate,
    steps_for,
)
from pushforward.samplers.default import Sampler


def anisotropic() -> Mixture:
    """Four modes in four dimensions with standard deviations 0.02 … 0.2, in random directions."""
    draws = Draws.of(5, range(4), "anisotropic")
    means = draws.at("means").uniform((4,), torch.float64) * 1.6 - 0.8
    bases = torch.linalg.qr(draws.at("bases").normal((4, 4), torch.float64))[0]
    spreads = torch.tensor([0.02, 0.05, 0.1, 0.2], dtype=torch.float64) ** 2
    return Mixture.of_covariances(
        torch.ones(4, dtype=torch.float64), means, torch.einsum("kij,j,klj->kil", bases, spreads, bases)
    )


TARGET = anisotropic()
DEVIATION = float((torch.trace(TARGET.covariance()) / 4).sqrt())
BATCH = 256


def errors(path, sample, budgets):
    """Median error per sample to the end of the exact flow at σ → 0, for each budget."""
    draws = Draws.of(2, range(BATCH), "default")
    start = path.level(path.t_max)
    z = draws.normal((4,), torch.float64)
    denoiser = MixtureDenoiser(TARGET, path)
    # the same flow in σ/α alone, carried on to where nothing is left of the noise
    fine = EDM(1e-5, start.ratio)
    levels = UniformLogSNR(to_clean=False)(fine, 800)
    truth = simulate(MixtureDenoiser(TARGET, fine), Multistep(4), start.ratio * z, levels, draws)
    return [
        float((sample(denoiser, start.sigma * z, n, draws) - truth).square().mean(1).sqrt().median()) for n in budgets
    ]


def by(step, grid, finish=None):
    return lambda denoiser, x, n, draws: Sampler(step, grid, finish).sample(denoiser, x, n, draws)


def by_default(denoiser, x, n, draws):
    return default_sampler(denoiser.path, n, DEVIATION).sample(denoiser, x, n, draws)


OTHERS = {
    "DDIM": by(DDIM, UniformLogSNR()),
    "++2M": by(DPMSolverPP2M, UniformLogSNR()),
    "++2M Karras": by(DPMSolverPP2M, Karras()),
    "Heun": by(Heun(), Karras()),
    "UniPC": by(UniPC(3), UniformLogSNR()),
    "AB4 half-denoised": by(Multistep(4, BalancedQuantity(DEVIATION)), UniformLogSNR(to_clean=False), half_denoised),
}


@pytest.mark.parametrize("path", [VP(), EDM()])
def test_no_other_sampler_is_better_at_any_budget(path):
    budgets = (6, 10, 20, 50)
    ours = errors(path, by_default, budgets)
    for name, other in OTHERS.items():
        theirs = errors(path, other, budgets)
        assert all(a <= 1.1 * b for a, b in zip(ours, theirs, strict=True)), (name, ours, theirs)
    assert ours[-1] < 1e-4


def test_on_vp_the_error_at_100_evaluations_is_below_1e_4():
    assert errors(VP(), by_default, (100,))[0] < 1e-4


@pytest.mark.parametrize("n", [1, 2, 3, 5, 20, 100])
@pytest.mark.parametrize("path", [VP(), EDM(), Straight()])
def test_the_budget_is_spent_exactly(path, n, gaussian, draws):
    sampler = default_sampler(path, n, 0.5)
    levels = sampler.grid(path, n)
    assert evaluations(sampler.step, path, levels, sampler.finish) == n
    assert steps_for(sampler.step, path, sampler.grid, n, sampler.finish) == n
    assert levels[0].t == path.t_max
    assert levels[-1] == CLEAN
    assert all(a.ratio > b.ratio for a, b in itertools.pairwise(levels))
    x = sampler.sample(gaussian(path), draws(3).normal((1,)), n, draws(3))
    assert torch.isfinite(x).all()


def test_the_grid_is_uniform_in_its_coordinate():
    levels = ShiftedLogGrid(8.0, end=0.01)(EDM(), 12)
    u = torch.log1p(8.0 / torch.tensor([level.ratio for level in levels[:-1]], dtype=torch.float64))
    assert torch.allclose(torch.diff(u), torch.diff(u)[0].expand(11), rtol=1e-6)
    assert levels[-2].ratio == pytest.approx(0.01)


@pytest.mark.parametrize("power", [4.0, 8.0])
def test_the_grid_is_uniform_in_the_power_of_its_coordinate(power):
    levels = ShiftedLogGrid(8.0, end=0.01, power=power)(EDM(), 12)
    u = [(1 + 8.0 / level.ratio) ** (-1 / power) for level in levels[:-1]]
    assert u == pytest.approx(torch.linspace(u[0], u[-1], 12, dtype=torch.float64).tolist(), abs=1e-9)
    assert levels[-2].ratio == pytest.approx(0.01)


def test_the_onset_makes_the_first_steps_shorter_and_the_last_ones_the_same():
    """u = (1 + (c/ρ)^p)^{−1/(pq)}: the gap to the start goes like ρ^{−p}, the levels near the end like ρ^{1/q}."""
    levels = ShiftedLogGrid(8.0, 0.01, 3.0, onset=0.7)(EDM(), 12)
    u = [(1 + (8.0 / level.ratio) ** 0.7) ** (-1 / 2.1) for level in levels[:-1]]
    assert u == pytest.approx(torch.linspace(u[0], u[-1], 12, dtype=torch.float64).tolist(), abs=1e-9)
    plain = ShiftedLogGrid(8.0, 0.01, 3.0)(EDM(), 12)
    assert levels[1].ratio > 1.1 * plain[1].ratio
    assert levels[-3].ratio / levels[-2].ratio == pytest.approx(plain[-3].ratio / plain[-2].ratio, rel=0.1)


def test_a_large_power_is_the_logarithm():
    powers, logs = (ShiftedLogGrid(8.0, 0.01, q)(EDM(), 12) for q in (1e6, math.inf))
    assert [a.ratio for a in powers[:-1]] == pytest.approx([b.ratio for b in logs[:-1]], rel=1e-4)


def test_at_equal_noise_every_path_gives_the_same_sample(draws):
    """The flow in x/α and σ/α does not know the path: VP and EDM with the same range agree to rounding."""
    vp = VP()
    top, bottom = vp.level(vp.t_max), vp.level(vp.t_min)
    edm = EDM(bottom.ratio, top.ratio)
    z = draws(8).normal((4,), torch.float64)
    ends = [
        default_sampler(path, 12, DEVIATION).sample(
            MixtureDenoiser(TARGET, path), path.level(path.t_max).sigma * z, 12, draws(8)
        )
        for path in (vp, edm)
    ]
    assert torch.allclose(*ends, atol=1e-7)


@pytest.mark.parametrize("variance", [0.0, 1.0])
def test_the_last_step_is_exact_for_data_of_no_width_and_for_wide_data(variance, gaussian, draws):
    """From σ = 0.05 to the data itself; E[x_0 | x] errs by 1e-3 in the second case, the half-denoised value by 1e-2
    in the first."""
    path = EDM()
    levels = (*path.levels(torch.logspace(math.log10(2 / 80), math.log10(0.05 / 80), 40)), CLEAN)
    x = 2 * draws(5).normal((1,), torch.float64)
    got = simulate(gaussian(path, 0.0, variance), BalancedMultistep(), x, levels, draws(5))
    assert torch.allclose(got, x * (variance / (variance + 4)) ** 0.5, rtol=1e-3, atol=2e-4)


def test_it_is_of_fourth_order(bimodal, vp, orders):
    step = BalancedMultistep(4, 0.8, 8.0)
    assert orders(bimodal(vp), step, (96, 192, 384))[-1] > 3.6


@pytest.mark.parametrize(("order", "revisions", "attained"), [(3, 2, 4), (4, 1, 5), (4, 2, 5)])
def test_revisions_raise_the_order_by_one(order, revisions, attained, bimodal, vp, orders):
    step = BalancedMultistep(order, 0.8, 8.0, revisions=revisions)
    assert orders(bimodal(vp), step, (96, 192, 384))[-1] > attained - 0.4


def test_revisions_integrate_each_interval_anew_with_the_values_on_both_sides(vp):
    """F = 1, u and u², which three values determine: exact from the first interval on, where there was but one."""
    step, sigma_data = BalancedMultistep(4, 0.8, 8.0, revisions=2), 0.8
    levels = UniformLogSNR(to_clean=False)(vp, 9)
    ratios = torch.tensor([float(level.ratio) for level in levels], dtype=torch.float64)
    roots = [math.hypot(level.sigma, level.alpha * sigma_data) for level in levels]
    moves = step.plan(vp, levels)
    angles = torch.atan(ratios / sigma_data)
    coordinate = -torch.log1p(8.0 / ratios)
    for exponent in range(3):
        y = 1.0
        for i, move in enumerate(moves):
            values = [coordinate[j] ** exponent for j in range(i, i - len(move.weights), -1)]
            y = (y * move.carry * roots[i] + sum(map(math.prod, zip(move.weights, values, strict=True)))) / roots[i + 1]
        angle = torch.linspace(float(angles[-1]), float(angles[0]), 200_001, dtype=torch.float64)
        u = -torch.log1p(8.0 / (sigma_data * torch.tan(angle)))
        exact = 1.0 + float(torch.trapezoid(u**exponent, angle))
        assert y == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(("order", "final", "revised"), [(1, 3, 2), (3, 7, 4), (6, 1, 3), (1, 1, 1)])
def test_weights_of_the_parts_of_the_way_add_up_whatever_the_orders(order, final, revised):
    path = EDM()
    step = BalancedMultistep(order, 0.8, 8.0, final_order=final, revisions=min(2, revised - 1), revision_order=revised)
    levels = ShiftedLogGrid(8.0)(path, 9)
    moves = step.plan(path, levels)
    angles = [math.atan2(level.sigma, 0.8 * level.alpha) for level in levels]
    for i, move in enumerate(moves):  # of a constant F each step integrates its own interval exactly
        scale = math.hypot(0.8 * levels[i + 1].alpha, levels[i + 1].sigma)
        assert sum(move.weights) == pytest.approx(scale * (angles[i] - angles[i + 1]), rel=1e-9)


def test_what_changes_the_state_on_the_way_is_kept_by_the_revisions(bimodal, vp):
    """They are weights of values, not a state of their own: a shift of x is carried on, as it is without them."""
    denoiser, levels, draws = bimodal(vp), UniformLogSNR(to_clean=False)(vp, 12), Draws.of(0, range(8))
    x = vp.prior(draws.normal((1,), torch.float64))
    plain, revised = BalancedMultistep(4, 0.8, 8.0), BalancedMultistep(4, 0.8, 8.0, revisions=2)

    def shifted(step):
        state, memory = x, None
        for i, move in enumerate(step.plan(vp, levels)):
            state, memory = step(denoiser, state, move, memory, draws)
            state = state + 0.3 if i == 5 else state
        return state

    assert (shifted(plain) - shifted(revised)).abs().max() < 0.1 * (
        shifted(plain) - simulate(denoiser, plain, x, levels, draws)
    ).abs().max()


def test_the_deviation_is_found_in_what_the_denoiser_holds(gaussian, vp):
    network = NetworkDenoiser(vp, torch.nn.Identity(), EDMPrediction(0.7))
    assert deviation(network) == 0.7
    assert deviation(Clipped(network)) == 0.7
    assert deviation(Guided(Clipped(network), network, 2.0)) == 0.7
    assert deviation(gaussian(vp, 0.3, 0.04)) == pytest.approx(0.2)
    assert deviation(gaussian(vp, 0.3, 0.0)) == 0.5
    assert deviation(object()) == 0.5


def test_impossible_settings_are_refused(vp):
    with pytest.raises(UserError, match="at least one evaluation"):
        default_sampler(vp, 0)
    with pytest.raises(UserError, match="offset of the grid"):
        ShiftedLogGrid(0.0)
    with pytest.raises(UserError, match="power of the grid"):
        ShiftedLogGrid(1.0, power=-7.0)
    with pytest.raises(UserError, match="order of a multistep"):
        BalancedMultistep(9)
    with pytest.raises(UserError, match="revised less often"):
        BalancedMultistep(4, revisions=6, revision_order=6)
    with pytest.raises(UserError, match="must be positive"):
        BalancedMultistep(4, -1.0)
