"""Steps made of steps, the loop's budgets and observers."""

from __future__ import annotations

import pytest
import torch

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths import VP, Karras, Table, Uniform, UniformLogSNR, linear_betas
from pushforward.samplers import (
    DDIM,
    DDPM,
    Ancestral,
    BalancedQuantity,
    Churn,
    FixedStep,
    Heun,
    Langevin,
    Multistep,
    Project,
    Repeat,
    Restart,
    SignalToNoise,
    SingleStep,
    Then,
    analytic,
    denoised,
    evaluations,
    half_denoised,
    simulate,
    steps_for,
)


class Counting:
    """A denoiser that counts its calls."""

    def __init__(self, inner):
        self.inner, self.path, self.calls = inner, inner.path, 0

    def estimate(self, x, level):
        self.calls += 1
        return self.inner.estimate(x, level)

    def __call__(self, x, level):
        return self.estimate(x, level)


EVERY_COST = [
    DDIM,
    Multistep(3),
    Heun(),
    SingleStep(3),
    Then(DDPM, Langevin(FixedStep(0.1))),
    Then(DDPM, Repeat(Langevin(FixedStep(0.1)), 2)),
    Repeat(DDPM, 3),
    Restart(Multistep(2), times=2, steps=3),
    Restart(Heun()),
    Project(DDIM, lambda x, level, draws: x),
]


@pytest.mark.parametrize("step", EVERY_COST)
@pytest.mark.parametrize("finish", [None, half_denoised])
def test_a_step_costs_what_it_declares(step, finish, bimodal, vp, draws):
    levels = UniformLogSNR(to_clean=finish is None)(vp, 20)
    counting = Counting(bimodal(vp))
    simulate(counting, step, draws(2).normal((1,)), levels, draws(2), finish=finish)
    assert counting.calls == evaluations(step, vp, levels, finish)


@pytest.mark.parametrize("step", EVERY_COST[:7])
@pytest.mark.parametrize("budget", [7, 20, 50])
def test_steps_for_spends_as_much_of_a_budget_as_fits(step, budget, vp):
    grid = Uniform()
    n = steps_for(step, vp, grid, budget)
    assert evaluations(step, vp, grid(vp, n)) <= budget < evaluations(step, vp, grid(vp, n + 1))


def test_a_budget_too_small_is_refused(vp):
    with pytest.raises(UserError, match="one step needs 2 evaluations; the budget is 1"):
        steps_for(Heun(), vp, Uniform(to_clean=False), 1)


def test_repeat_goes_back_by_the_forward_process(gaussian, draws):
    """t → s → t → s leaves q(x_s) alone when each step does: the variance stays exact with the analytic noise."""
    vp = VP()
    levels = UniformLogSNR(to_clean=False)(vp, 60)
    x = draws(6000).normal((1,), torch.float64)
    got = simulate(gaussian(vp, 0.0, 1.0), Repeat(Ancestral(1.0, analytic), 3), x, levels, draws(6000))
    assert float(got.var()) == pytest.approx(1.0, abs=0.06)


def test_repeat_once_is_the_step_itself(bimodal, vp, draws):
    levels, x = Uniform()(vp, 6), draws(4).normal((1,), torch.float64)
    both = [simulate(bimodal(vp), step, x, levels, draws(4)) for step in (Multistep(2), Repeat(Multistep(2), 1))]
    assert torch.equal(*both)
    with pytest.raises(UserError, match="at least once"):
        Repeat(DDPM, 0)


def test_project_keeps_what_is_known(bimodal, vp, draws):
    """RePaint: half of the state is replaced by the known data at every level, so it comes out clean."""
    known, mask = torch.full((5, 1), 0.7), torch.tensor([1.0, 1, 0, 0, 0])[:, None]

    def replace(x, level, inner):
        return mask * vp.mix(known, inner.normal_like(x), level) + (1 - mask) * x

    x = simulate(bimodal(vp), Project(DDPM, replace), draws(5).normal((1,)), Uniform()(vp, 10), draws(5))
    assert torch.allclose(x[:2], known[:2])
    assert not torch.allclose(x[2:], known[2:], atol=0.01)


def test_restart_is_two_plain_runs_and_a_climb_between(bimodal, vp, draws):
    levels, x = Karras()(vp, 12), draws(3).normal((1,), torch.float64)
    step = Restart(Multistep(2), low=0.1, high=0.5, times=1, steps=4)
    at = min(range(1, 12), key=lambda i: abs(levels[i].ratio - 0.1))
    first = simulate(bimodal(vp), Multistep(2), x, levels[: at + 1], draws(3))
    plan = step.plan(vp, levels)
    climbed = plan[at - 1].scale * first + plan[at - 1].spread * draws(3).at(at - 1).at(0, "up").normal_like(x)
    down = climbed
    memory = None
    for move in plan[at - 1].down:
        down, memory = Multistep(2)(bimodal(vp), down, move, memory, draws(3))
    expected = simulate(bimodal(vp), Multistep(2), down, levels[at:], draws(3))
    assert torch.allclose(simulate(bimodal(vp), step, x, levels, draws(3)), expected)


def test_restart_contracts_an_error_made_before_it(gaussian, vp, draws):
    """A start of twice the right spread is forgotten by climbing back."""
    x = 2 * draws(8000).normal((1,), torch.float64)
    levels, got = UniformLogSNR()(vp, 40), {}
    for times in (0, 3):
        step = Restart(Multistep(2), low=0.1, high=1.0, times=times, steps=8)
        got[times] = float(simulate(gaussian(vp, 0.0, 0.25), step, x, levels, draws(8000)).var())
    assert got[0] > 0.9
    assert got[3] == pytest.approx(0.25, abs=0.03)


def test_a_restart_that_does_not_climb_is_refused(vp):
    with pytest.raises(UserError, match="use more steps or a higher restart"):
        Restart(DDIM).plan(vp, vp.levels([1.0, 0.5]))
    with pytest.raises(UserError, match="climbs from low to a higher"):
        Restart(DDIM, low=1.0, high=0.5)


def test_the_draws_of_a_sample_do_not_depend_on_its_batch(bimodal, vp, draws):
    step = Then(DDPM, Langevin(SignalToNoise(0.1)))
    x, levels = draws(6).normal((1,), torch.float64), Uniform()(vp, 8)
    together = simulate(bimodal(vp), step, x, levels, draws(6))
    alone = simulate(bimodal(vp), step, x[4:5], levels, Draws.of(0, [4], "test"))
    assert torch.allclose(alone, together[4:5], atol=1e-12)


def test_an_observer_sees_every_step_and_changes_nothing(bimodal, vp, draws):
    seen, x, levels = [], draws(2).normal((1,)), Uniform()(vp, 5)
    watched = simulate(bimodal(vp), Heun(Churn(5.0)), x, levels, draws(2), observe=seen.append)
    assert torch.equal(watched, simulate(bimodal(vp), Heun(Churn(5.0)), x, levels, draws(2)))
    assert [p.step for p in seen] == [1, 2, 3, 4, 5]
    assert {p.total for p in seen} == {5}
    assert [p.level for p in seen] == list(levels[1:])
    assert torch.equal(seen[-1].x, watched)
    assert seen[0].estimate.mean.shape == x.shape


def test_the_two_endings(bimodal, vp, draws):
    x, levels = draws(2).normal((1,)), Uniform(to_clean=False)(vp, 5)
    plain, mean, half = (
        simulate(bimodal(vp), DDIM, x, levels, draws(2), finish=finish) for finish in (None, denoised, half_denoised)
    )
    assert torch.allclose(mean, bimodal(vp)(plain, levels[-1]).mean)
    assert torch.allclose(half, (plain / levels[-1].alpha + mean) / 2)


def test_wrong_grids_and_batches_are_refused(bimodal, vp, draws):
    x, levels = torch.zeros(2, 1), Uniform()(vp, 3)
    with pytest.raises(UserError, match="at least two levels"):
        simulate(bimodal(vp), DDIM, x, levels[:1], draws(2))
    with pytest.raises(UserError, match="2 samples and 3 keys"):
        simulate(bimodal(vp), DDIM, x, levels, draws(3))
    with pytest.raises(UserError, match="must decrease from noise to data"):
        simulate(bimodal(vp), DDIM, x, levels[::-1], draws(2))


def test_a_table_and_any_quantity_meet(gaussian, propagate):
    path = Table.of_betas(linear_betas())
    _, variance = propagate(gaussian(path), Multistep(1, BalancedQuantity(0.5)), Uniform()(path, 50), 0.0, 1.0)
    assert variance == pytest.approx(0.25, rel=0.02)  # σ_data is right, so F = 0 and the flow is exact
