"""Integration of ordinary differential equations against closed forms, torchdiffeq and itself in other batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torchdiffeq
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import NumericalError, UserError
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.ode import Adaptive, Fixed, Largest, Rms, _ladder
from pushforward.numerics.quadrature import Unit, interpolation_weights
from pushforward.numerics.tableaus import DOP853, DOPRI5

SPAN = 5.0


def column(t, y):
    return torch.as_tensor(t, dtype=torch.float64).reshape(-1, *(1,) * (y.ndim - 1))


def swinging(t, y, rows):
    """y′ = −y cos t: y = y_0 e^{−sin t}."""
    return -y * torch.cos(column(t, y))


def starts(n=4):
    return torch.linspace(0.5, 3.0, n, dtype=torch.float64)[:, None] * torch.tensor([[1.0, -2.0]], dtype=torch.float64)


EXACT = starts() * math.exp(-math.sin(SPAN))


def van_der_pol(t, y, rows):
    return torch.stack((y[:, 1], 8 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]), 1)


@pytest.mark.parametrize("tableau", [DOPRI5, DOP853], ids=["dopri5", "dop853"])
def test_rows_are_consistent(tableau):
    """Σ_j a_ij = c_i, Σ b_j = 1, Σ b_j c_j^m = 1/(m + 1) up to the order; errors vanish on constants."""
    for node, row in zip(tableau.nodes, tableau.rows, strict=True):
        assert sum(row) == pytest.approx(node, abs=1e-13)
    for m in range(tableau.order):
        moment = sum(b * c**m for b, c in zip(tableau.weights, tableau.nodes, strict=False))
        assert moment == pytest.approx(1 / (m + 1), abs=1e-13)
    for error in tableau.errors:
        assert len(error) == len(tableau.rows) and sum(error) == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("tableau, counts", [(DOPRI5, (20, 40)), (DOP853, (8, 16))], ids=["dopri5", "dop853"])
def test_order_of_fixed_steps(tableau, counts):
    errors = [float((Fixed(n, tableau)(swinging, starts(), 0.0, SPAN).y - EXACT).abs().max()) for n in counts]
    assert math.log2(errors[0] / errors[1]) > tableau.order - 0.5


@pytest.mark.parametrize("tableau", [DOPRI5, DOP853], ids=["dopri5", "dop853"])
def test_error_follows_the_tolerance(tableau):
    errors = []
    for tol in (1e-5, 1e-7, 1e-9):
        found = Adaptive(Largest(tol, tol), tableau)(swinging, starts(), 0.0, SPAN)
        errors.append(float((found.y - EXACT).abs().max()))
        assert errors[-1] < 200 * tol
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_high_order_is_cheaper_at_tight_tolerance():
    spent = [
        Adaptive(Rms(1e-11, 1e-11), tableau)(swinging, starts(), 0.0, SPAN).evaluations.sum()
        for tableau in (DOPRI5, DOP853)
    ]
    assert spent[1] < 0.7 * spent[0]


def test_agrees_with_torchdiffeq():
    """One sample, equal tolerance, a stiff-ish oscillator: the same state, at about the same cost."""
    y = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    reference = torchdiffeq.odeint(
        lambda t, y: van_der_pol(t, y, None), y, torch.tensor([0.0, 10.0]).double(), rtol=1e-11, atol=1e-11
    )[-1]
    calls = []

    def counted(t, y):
        calls.append(t)
        return van_der_pol(t, y, None)

    theirs = torchdiffeq.odeint(counted, y, torch.tensor([0.0, 10.0]).double(), rtol=1e-7, atol=1e-7)[-1]
    ours = Adaptive(Rms(1e-7, 1e-7))(van_der_pol, y, 0.0, 10.0)
    assert (ours.y - reference).abs().max() < max(1e-5, 3 * (theirs - reference).abs().max())
    assert int(ours.evaluations) < 1.5 * len(calls)


@given(st.floats(-200.0, -0.1), st.floats(0.1, 3.0))
def test_decays_of_any_rate(rate, span):
    """y′ = k (y − sin t) + cos t: the solution tends to sin t however fast the decay."""
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)

    def field(t, y, rows):
        return rate * (y - torch.sin(column(t, y))) + torch.cos(column(t, y))

    found = Adaptive(Largest(1e-7, 1e-7))(field, y, 0.0, span).y
    assert torch.allclose(found, y * math.exp(rate * span) + math.sin(span), atol=1e-5)


@pytest.mark.parametrize("solver", [Adaptive(), Adaptive(tableau=DOP853), Fixed(20), Adams(60)])
def test_backwards_undoes_forwards(solver):
    there = solver(swinging, starts(), 0.0, 2.0).y
    back = solver(swinging, there, 2.0, 0.0).y
    assert torch.allclose(back, starts(), rtol=2e-3)
    assert not torch.allclose(there, starts(), rtol=0.1)


def test_each_sample_steps_for_itself():
    """Rates from 1 to 1000 in one batch: results as alone to the last bits, and costs of their own."""
    rates = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)[:, None]
    y = torch.ones(4, 3, dtype=torch.float64)

    def field(t, y, rows):
        return -(rates if rows is None else rates[rows]) * (y - torch.cos(column(t, y)))

    together = Adaptive()(field, y, 0.0, 1.0)
    assert (together.evaluations.diff() > 0).all() and together.evaluations[-1] > 5 * together.evaluations[0]
    for i in range(4):
        alone = Adaptive()(lambda t, y, rows, i=i: -rates[i] * (y - torch.cos(column(t, y))), y[i : i + 1], 0.0, 1.0)
        assert (alone.y - together.y[i]).abs().max() < 1e-13
        assert int(alone.evaluations) == int(together.evaluations[i])
        assert int(alone.rejected) == int(together.rejected[i])


def test_torchdiffeq_does_not():
    """The control: one step size for the whole batch makes a sample's result depend on its neighbours."""
    rates = torch.tensor([[1.0], [1000.0]], dtype=torch.float64)
    y, times = torch.ones(2, 1, dtype=torch.float64), torch.tensor([0.0, 1.0]).double()
    together = torchdiffeq.odeint(lambda t, y: -rates * (y - torch.cos(t)), y, times, rtol=1e-5, atol=1e-5)[-1]
    alone = torchdiffeq.odeint(lambda t, y: -rates[:1] * (y - torch.cos(t)), y[:1], times, rtol=1e-5, atol=1e-5)[-1]
    assert (together[:1] - alone).abs().max() > 1e-8


def test_finished_samples_are_not_evaluated():
    seen = []

    def field(t, y, rows):
        seen.append(len(y))
        stiff = torch.tensor([1.0, 300.0], dtype=torch.float64)[:, None]
        return -(stiff if rows is None else stiff[rows]) * y

    found = Adaptive()(field, torch.ones(2, 1, dtype=torch.float64), 0.0, 1.0)
    assert seen[0] == 2 and seen[-1] == 1
    assert sum(seen) == int(found.evaluations.sum())


def test_states_of_any_shape_and_dtype():
    y = torch.ones(3, 2, 4, dtype=torch.float32)
    found = Adaptive()(lambda t, y, rows: -y, y, 0.0, 1.0).y
    assert found.shape == y.shape and found.dtype == torch.float32
    assert torch.allclose(found, torch.full_like(y, math.exp(-1)), atol=1e-4)


def test_no_way_to_go_and_no_samples():
    y = starts()
    assert torch.equal(Adaptive()(swinging, y, 1.0, 1.0).y, y)
    assert Adaptive()(swinging, y[:0], 0.0, 1.0).y.shape == (0, 2)


def test_a_velocity_that_vanishes_costs_little():
    found = Adaptive()(lambda t, y, rows: 0 * y, starts(), 0.0, 1.0)
    assert torch.equal(found.y, starts()) and int(found.evaluations.max()) < 100


def test_a_first_step_that_is_too_long_is_rejected():
    rule = Adaptive(Largest(1e-6, 1e-6), first_step=SPAN)
    found = rule(swinging, starts(), 0.0, SPAN)
    assert (found.rejected > 0).all() and (found.y - EXACT).abs().max() < 1e-4


@pytest.mark.parametrize("solver", [Adaptive(), Fixed(50)], ids=["adaptive", "fixed"])
def test_a_weight_multiplies_the_velocity(solver):
    class Cosine:
        def density(self, t):
            return torch.cos(t)

        def total(self, start, stop):
            return math.sin(stop) - math.sin(start)

    found = solver(lambda t, y, rows: -y, starts(), 0.0, SPAN, Cosine()).y
    assert (found - EXACT).abs().max() < 1e-3


class TestTrouble:
    def test_a_singularity_names_the_sample(self):
        """y′ = y² from 0.1 and from 2: the second is infinite at t = 1/2."""
        y = torch.tensor([[0.1], [2.0]], dtype=torch.float64)
        with pytest.raises(NumericalError, match=r"sample 1 .*step size fell to .* at t = 0\.5"):
            Adaptive()(lambda t, y, rows: y**2, y, 0.0, 1.0)

    def test_too_many_steps(self):
        with pytest.raises(NumericalError, match=r"sample 0 .* after 3 steps"):
            Adaptive(Rms(1e-9, 1e-9), max_steps=3)(swinging, starts(), 0.0, SPAN)

    def test_a_velocity_that_is_not_finite(self):
        y = torch.tensor([[1.0], [torch.nan]], dtype=torch.float64)
        for solver in (Adaptive(), Fixed(3), Adams(5)):
            with pytest.raises(NumericalError, match=r"sample 1 .* not finite"):
                solver(lambda t, y, rows: -y, y, 0.0, 1.0)

    def test_a_velocity_that_breaks_on_the_way(self):
        def field(t, y, rows):
            return torch.where(column(t, y) > 0.5, torch.nan, -y)

        with pytest.raises(NumericalError, match=r"sample \d .* at t = 0.5"):
            Adaptive()(field, starts(), 0.0, 1.0)

    @pytest.mark.parametrize(
        "make, words",
        [
            (lambda: Rms(-1e-3, 1e-3), "tolerances must not be negative"),
            (lambda: Largest(0.0, 0.0), "one must be positive"),
            (lambda: Fixed(0), "at least 1; got 0"),
            (lambda: Adams(1), "at least 2 evaluations; got 1"),
            (lambda: Adams(9, order=7), "1 to 6; got 7"),
        ],
    )
    def test_wrong_settings(self, make, words):
        with pytest.raises(UserError, match=words):
            make()


def test_sizes_on_the_ladder_stay_whatever_the_last_bits():
    """A size that is kept is put on the ladder again; rounding it one rung down would depend on the batch."""
    sizes = 2.0 ** (torch.arange(-80, 20, dtype=torch.float64) / 4)
    for nudge in (1.0, 1 - 1e-15, 1 + 1e-15):
        assert torch.allclose(_ladder(sizes * nudge), sizes, rtol=1e-12)
    assert torch.allclose(_ladder(-1.18 * sizes), -sizes) and (_ladder(1.2 * sizes) > sizes).all()


def test_measures():
    error = torch.tensor([[3e-3, 4e-3]])
    zero = torch.zeros_like(error)
    assert float(Largest(0.0, 1e-3)(error, zero, zero)) == pytest.approx(4.0)
    assert float(Rms(0.0, 1e-3)(error, zero, zero)) == pytest.approx(math.sqrt(12.5))
    assert float(Largest(1.0, 0.0)(error, zero + 1e-3, zero - 4e-3)) == pytest.approx(1.0)


class TestAdams:
    @pytest.mark.parametrize("order", [1, 2, 3])
    @pytest.mark.parametrize("corrected", [False, True])
    def test_order(self, order, corrected):
        """On a velocity that starts flat, as every flow from data does, so that the rising start costs no order."""

        def field(t, y, rows):
            return -y * torch.cos(column(t, y)) * torch.sigmoid(4 * (column(t, y) - 3))

        exact = Adaptive(Largest(1e-12, 1e-12), DOP853)(field, starts(), -6.0, 6.0).y
        errors = [
            float((Adams(n, order, corrected=corrected)(field, starts(), -6.0, 6.0).y - exact).abs().max())
            for n in (300, 600)
        ]
        assert math.log2(errors[0] / errors[1]) > order + corrected - 0.3

    def test_a_polynomial_of_the_weight_is_exact(self):
        """f = 1 + t + t² without feedback: three slopes integrate it exactly under any weight, once they are there."""
        nodes, start, stop = [1.0, 0.7, 0.2], 1.0, 1.5
        weights = interpolation_weights(nodes, np.exp, start, stop, math.exp(stop) - math.exp(start))
        found = sum(w * (1 + t + t * t) for w, t in zip(weights, nodes, strict=True))
        primitive = [math.exp(t) * (t * t - t + 2) for t in (start, stop)]
        assert found == pytest.approx(primitive[1] - primitive[0], rel=1e-12)

    def test_classical_coefficients(self):
        """With unit weight and equal steps: 55, −59, 37, −9 over 24 and 251, 646, −264, 106, −19 over 720."""
        _, moves = Adams(9, order=4).plan(0.0, 8.0, Unit())
        assert moves[5].predict == pytest.approx([55 / 24, -59 / 24, 37 / 24, -9 / 24])
        assert moves[5].correct == pytest.approx([251 / 720, 646 / 720, -264 / 720, 106 / 720, -19 / 720])

    @pytest.mark.parametrize("corrected", [False, True])
    def test_evaluations(self, corrected):
        calls = []

        def field(t, y, rows):
            calls.append(t)
            return -y

        found = Adams(12, 3, corrected=corrected)(field, starts(), 0.0, 1.0)
        assert len(calls) == 12 and set(found.evaluations.tolist()) == {12}

    def test_bunched_times(self):
        times = Bunched(1.0, 0.5)(-4.0, 5.0, 20)
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert times[0] == -4.0 and times[-1] == 5.0 and len(times) == 21 and min(gaps) > 0
        nearest = min(range(20), key=lambda i: abs(times[i] + times[i + 1] - 2))
        assert gaps[nearest] == pytest.approx(min(gaps), rel=0.05) and max(gaps) > 4 * min(gaps)
