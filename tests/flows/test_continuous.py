"""The flow of an equation as a bijection: linear flows in closed form, probes, batches, dtypes, conditions per row."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.flows import AdaptiveFlow, Continuous, Inverse
from pushforward.flows.continuous import Joint
from pushforward.numerics.adams import Adams
from pushforward.numerics.broadcast import expand
from pushforward.numerics.divergence import Hutchinson
from pushforward.numerics.ode import Adaptive, Fixed, Largest, Rms
from pushforward.numerics.random import Draws, key, normal

D = 4
A = normal(torch.tensor([key(0, "A")]), (D, D), torch.float64)[0]
SOLVERS = [
    AdaptiveFlow(Adaptive(Largest(1e-9, 1e-9)), 1e-8),
    Adaptive(Largest(1e-9, 1e-9)),
    Fixed(60),
    Adams(900, 3),
]


def linear(t, x, rows):
    return (x.flatten(1) @ A.T.to(x.dtype)).reshape(x.shape)


def curved(t, x, rows):
    return torch.tanh(x @ A.T.to(x.dtype)) * torch.cos(expand(torch.as_tensor(t, dtype=torch.float64), x))


def points(n=5, shape=(D,)):
    return normal(torch.arange(n), shape, torch.float64)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_a_linear_flow_is_its_matrix_exponential(solver):
    """y = e^{A T} x with log det = T tr A."""
    flow, x = Continuous(linear, 0.0, 0.7, solver), points()
    y, log_det = flow.forward(x)
    assert torch.allclose(y, x @ torch.matrix_exp(0.7 * A).T, atol=1e-5)
    assert torch.allclose(log_det, (0.7 * A.trace()).expand(5), atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_the_inverse_inverts(solver):
    flow, x = Continuous(curved, 0.0, 1.0, solver), points()
    y, log_det = flow.forward(x)
    back, back_log_det = flow.inverse(y)
    assert torch.allclose(back, x, atol=1e-4) and not torch.allclose(y, x, atol=0.1)
    assert torch.allclose(back_log_det, -log_det, atol=1e-4)
    assert torch.equal(Inverse(flow).forward(y)[0], back) and torch.equal(Inverse(flow).inverse(x)[0], y)


def test_the_log_det_is_that_of_the_jacobian():
    flow, x = Continuous(curved, 0.0, 1.0, SOLVERS[0]), points(3)
    _, log_det = flow.forward(x)
    shifted = 1e-5 * torch.eye(D, dtype=torch.float64)
    for i in range(3):
        plus, minus = (flow.push(x[i] + sign * shifted).y for sign in (1, -1))
        jacobian = (plus - minus) / 2e-5
        assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(log_det[i]), abs=1e-5)


def test_push_moves_as_solve_does():
    flow, x = Continuous(curved, solver=SOLVERS[0]), points()
    pushed = flow.push(x)
    assert torch.allclose(pushed.y, flow.solve(x).y, atol=1e-7) and pushed.log_dets.shape == (5, 0)
    assert torch.allclose(flow.push(pushed.y, reverse=True).y, x, atol=1e-7)


def test_probes_agree_with_the_exact_divergence_within_their_error():
    x = points(300)
    exact = Continuous(curved).solve(x)
    flow = Continuous(curved, divergence=Hutchinson(Draws.of(0, range(300)), 12))
    flowed = flow.solve(x)
    mean, error = flow.log_det(flowed)
    assert flowed.log_dets.shape == (300, 12)
    standard = (mean - exact.log_dets[:, 0]) / error
    assert abs(float(standard.mean())) < 4 / math.sqrt(300) and float(standard.std()) == pytest.approx(1.1, abs=0.15)
    assert (Continuous(curved).log_det(exact)[1] == 0).all()


@pytest.mark.parametrize("probes", [None, 3])
def test_alone_as_in_any_batch(probes):
    x, draws = points(6), Draws.of(0, range(6))

    def flow(rows):
        return (
            Continuous(curved, 0.0, 2.0, divergence=Hutchinson(draws[rows], probes)) if probes else Continuous(curved)
        )

    everyone = flow(torch.arange(6)).solve(x)
    for i in range(6):
        alone = flow(torch.tensor([i])).solve(x[i : i + 1])
        assert (alone.y - everyone.y[i]).abs().max() < 1e-12
        assert (alone.log_dets - everyone.log_dets[i]).abs().max() < 1e-12
        assert int(alone.evaluations) == int(everyone.evaluations[i])


def test_what_belongs_to_a_sample_follows_it():
    """A rate per sample, as a condition would be: the rows say who is still on the way."""
    rates = torch.tensor([0.1, 30.0, 3.0], dtype=torch.float64)

    def field(t, x, rows):
        return expand(-rates if rows is None else -rates[rows], x) * x

    x = points(3)
    y, log_det = Continuous(field, solver=AdaptiveFlow(Adaptive(Rms(1e-8, 1e-8)), 1e-7)).forward(x)
    assert torch.allclose(y, x * torch.exp(-rates)[:, None], atol=1e-6)
    assert torch.allclose(log_det, -D * rates, atol=1e-5)


def test_float32_velocities_are_accumulated_in_float64():
    seen = []

    def field(t, x, rows):
        seen.append(x.dtype)
        return linear(t, x, rows)

    x = points(2, (2, 2)).float()
    flowed = Continuous(field, 0.0, 0.7).solve(x)
    assert set(seen) == {torch.float32} and flowed.y.dtype == torch.float32 and flowed.y.shape == (2, 2, 2)
    assert flowed.log_dets.dtype == torch.float64
    assert torch.allclose(flowed.log_dets[:, 0], (0.7 * A.trace()).expand(2), atol=1e-5)


def test_the_log_det_is_controlled_in_nats():
    """A state that stands still while the volume changes: without control of the log-determinant nothing would."""

    def field(t, x, rows):
        return x * torch.cos(40 * torch.as_tensor(t, dtype=torch.float64)).reshape(-1, 1)

    exact, errors = D * math.sin(40.0) / 40, []
    for nats in (1e-3, 1e-6):
        flowed = Continuous(field, solver=AdaptiveFlow(nats=nats)).solve(torch.zeros(1, D, dtype=torch.float64))
        errors.append(abs(float(flowed.log_dets) - exact))
    assert errors[0] < 0.1 and errors[1] < 1e-4 and errors[1] < errors[0] / 10


def test_joint_measures_the_larger_of_both():
    measure = Joint(Largest(0.0, 1.0), 0.1, 2)
    error = torch.tensor([[0.5, 0.1, 0.1], [0.5, 0.0, 0.0], [0.0, 0.3, -0.3]])
    found = measure(error, torch.zeros_like(error), torch.zeros_like(error))
    assert found.tolist() == pytest.approx([1.0, 0.5, 0.0])
