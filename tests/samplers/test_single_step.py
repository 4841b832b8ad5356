"""Single-step and adaptive DPM-Solver: orders, the published errors and budgets, independence of the batch."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pushforward.denoisers import Estimate
from pushforward.errors import NumericalError, UserError
from pushforward.paths import VP, Straight, Uniform, UniformLogSNR
from pushforward.samplers import (
    DDIM,
    ON_MEAN,
    AdaptiveDPMSolver,
    DPMSolver2S,
    DPMSolver3S,
    DPMSolverPP2S,
    DPMSolverPP3S,
    SingleStep,
    evaluations,
    published_orders,
    sample_adaptively,
    simulate,
)


@pytest.mark.parametrize(
    ("step", "order"),
    [(SingleStep(1), 1), (DPMSolver2S, 2), (DPMSolverPP2S, 2), (DPMSolver3S, 3), (DPMSolverPP3S, 3)],
)
def test_measured_order(step, order, bimodal, vp, orders):
    assert orders(bimodal(vp), step, (96, 192, 384), per_step=order)[-1] == pytest.approx(order, abs=0.1)


def test_errors_on_a_gaussian_are_those_of_the_published_code(gaussian, vp, truth, draws):
    """N(0.7, 0.25), log-SNR grid, as measured on the authors' implementation at 12, 24 and 48 evaluations."""
    denoiser = gaussian(vp, 0.7, 0.25)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    grid = UniformLogSNR(to_clean=False)
    for step, per, expected in ((DPMSolver2S, 2, (2.1e-1, 4.5e-2, 1.1e-2)), (DPMSolver3S, 3, (5.2e-2, 4.3e-3, 3.9e-4))):
        for n, error in zip((12, 24, 48), expected, strict=True):
            got = float((simulate(denoiser, step, x, grid(vp, n // per), draws(9)) - truth(denoiser)).abs().max())
            assert got == pytest.approx(error, rel=0.05)


def test_order_one_is_ddim(bimodal, vp, draws):
    x, levels = draws(4).normal((1,), torch.float64), Uniform()(vp, 5)
    both = [simulate(bimodal(vp), step, x, levels, draws(4)) for step in (DDIM, SingleStep(1))]
    assert torch.allclose(*both, rtol=1e-9)


@pytest.mark.parametrize(
    ("n", "orders"), [(10, (3, 3, 3, 1)), (11, (3, 3, 3, 2)), (12, (3, 3, 3, 2, 1)), (3, (2, 1)), (1, (1,)), (2, (2,))]
)
def test_published_orders_of_dpm_solver_fast(n, orders):
    assert published_orders(3, n) == orders


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 5, 10, 17, 20])
def test_published_orders_spend_the_budget_exactly(order, n, vp):
    orders = published_orders(order, n)
    assert sum(orders) == n
    assert evaluations(SingleStep(orders), vp, UniformLogSNR(to_clean=False)(vp, len(orders))) == n


def test_what_has_no_meaning_is_refused(vp):
    with pytest.raises(UserError, match="order 1, 2 or 3"):
        SingleStep(4)
    with pytest.raises(UserError, match="order 1, 2 or 3"):
        published_orders(4, 10)
    with pytest.raises(UserError, match="2 orders were given for a grid of 3 steps"):
        SingleStep((3, 2)).plan(vp, Uniform()(vp, 3))
    with pytest.raises(UserError, match="order 2 or 3"):
        AdaptiveDPMSolver(order=4)
    path = Straight()
    with pytest.raises(UserError, match="α > 0"):
        AdaptiveDPMSolver().plan(path, Uniform()(path, 1))
    with pytest.raises(UserError, match="adaptive: how many"):
        evaluations(AdaptiveDPMSolver(), vp, Uniform()(vp, 1))
    with pytest.raises(UserError, match="goes from noise to data"):
        AdaptiveDPMSolver().plan(vp, vp.levels([0.1, 0.5]))


STARTS = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(("order", "budget"), [(2, 68), (3, 51)])
def test_adaptive_keeps_every_sample_within_the_tolerance_for_the_published_budget(order, budget, gaussian, vp, truth):
    """N(0.7, 0.25), published tolerances (rtol 0.05), to t = 1e-3: the batch-coupled code needs 68 and 39."""
    denoiser = gaussian(vp, 0.7, 0.25)
    got = sample_adaptively(denoiser, AdaptiveDPMSolver(order), STARTS, vp.level(1.0), vp.level(vp.t_min))
    assert got.largest <= budget
    assert float((got.x - truth(denoiser)).abs().max()) <= 0.05


def test_tighter_tolerances_bring_smaller_errors(bimodal, vp, truth):
    denoiser, errors = bimodal(vp), []
    for tolerance in (1e-2, 1e-3, 1e-4):
        step = AdaptiveDPMSolver(3, ON_MEAN, atol=tolerance, rtol=tolerance)
        got = sample_adaptively(denoiser, step, STARTS, vp.level(1.0), vp.level(vp.t_min))
        errors.append(float((got.x - truth(denoiser)).abs().max()))
    assert errors[2] < errors[1] / 3 < errors[0] / 9
    assert errors[2] < 1e-3


def test_an_adaptive_result_does_not_depend_on_the_batch(bimodal, vp):
    denoiser, ends = bimodal(vp), (vp.level(1.0), vp.level(vp.t_min))
    together = sample_adaptively(denoiser, AdaptiveDPMSolver(), STARTS, *ends, denoise=True)
    for i in (0, 4, 8):
        alone = sample_adaptively(denoiser, AdaptiveDPMSolver(), STARTS[i : i + 1], *ends, denoise=True)
        assert torch.allclose(alone.x, together.x[i : i + 1], atol=1e-9)
        assert alone.largest == int(together.evaluations[i])


def test_adaptive_joins_the_common_loop(bimodal, vp, draws):
    x = simulate(bimodal(vp), AdaptiveDPMSolver(2), STARTS, Uniform()(vp, 2), draws(9))
    ends = (vp.level(1.0), vp.level(vp.t_min))
    alone = sample_adaptively(bimodal(vp), AdaptiveDPMSolver(2), STARTS, *ends, denoise=True)
    assert torch.allclose(x, alone.x, atol=1e-9)


def test_an_adaptive_run_says_what_is_wrong(bimodal):
    vp = VP()
    with pytest.raises(UserError, match="ends at σ > 0"):
        sample_adaptively(bimodal(vp), AdaptiveDPMSolver(), STARTS, vp.level(1.0), Uniform()(vp, 1)[-1])
    with pytest.raises(NumericalError, match="did not finish in 3 trials"):
        sample_adaptively(bimodal(vp), AdaptiveDPMSolver(limit=3), STARTS, vp.level(1.0), vp.level(vp.t_min))

    class Broken(type(bimodal(vp))):
        def estimate(self, x, level):
            return Estimate.of_mean(x, level, x * float("nan"))

    with pytest.raises(NumericalError, match="not finite"):
        sample_adaptively(
            Broken(bimodal(vp).mixture, vp), AdaptiveDPMSolver(), STARTS, vp.level(1.0), vp.level(vp.t_min)
        )


def test_an_adaptive_trial_reads_one_number_from_the_device(bimodal, vp, monkeypatch):
    """Times are looked at on a CPU alone, where that waits for nothing: as on an accelerator, they are not here."""

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr("pushforward.paths.gaussian._check_inside", lambda times: None)
    denoiser, step = bimodal(vp), AdaptiveDPMSolver(2)
    (move,) = step.plan(vp, (vp.level(1.0), vp.level(vp.t_min)))
    step(denoiser, STARTS, move, None, None)
    with Reads() as reads:
        _, spent = step(denoiser, STARTS, move, None, None)
    assert reads.count == int(spent.max()) // 2
