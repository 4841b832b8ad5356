"""Neural ODE layers: gradients by the adjoint against plain differentiation, densities against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from pushforward.errors import UserError
from pushforward.flows import AdaptiveFlow, Chain, Flow, Inverse, Ode, Scale, StandardGaussian, VelocityMLP, log_abs_det
from pushforward.flows.neural_ode import runge_kutta, traced
from pushforward.numerics.ode import Adaptive, Rms
from pushforward.numerics.random import Draws, key, normal
from pushforward.numerics.tableaus import DOPRI5, RK4

F64 = torch.float64


def numbers(seed, *shape):
    return normal(torch.tensor([key("ode", seed)]), shape, F64)[0]


def layer(d=3, context=0, steps=5, tableau=RK4, size=0.5):
    ode = Ode(VelocityMLP(d, (7, 6), context), steps, tableau).double()
    for i, p in enumerate(ode.parameters()):
        p.data = size * numbers(i, *p.shape)
    return ode


def plainly(ode, x, context, probe, reverse=False):
    """The same steps with one graph through all of them."""
    times = [i / ode.steps for i in range(ode.steps + 1)]
    times = times[::-1] if reverse else times
    log_det = 0
    for t, end in pairwise(times):

        def rate(time, state):
            return traced(lambda v: ode.velocity(time, v, context), state, probe)

        x, moved = runge_kutta(rate, ode.tableau, x, t, end)
        log_det = log_det + moved
    return x, log_det


@pytest.mark.parametrize("tableau", [RK4, DOPRI5], ids=["rk4", "dopri5"])
@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("c", [0, 2])
def test_the_adjoint_gradient_is_that_of_plain_differentiation(tableau, probed, reverse, c):
    ode = layer(context=c, tableau=tableau)
    x, context = numbers(90, 4, 3), numbers(91, 4, c).requires_grad_() if c else None
    probe = torch.sign(numbers(92, 4, 3)) if probed else None
    weights = numbers(93, 4, 3), numbers(94, 4)
    found = []
    for run in (
        lambda v: ode.run(v, context, probe, reverse=reverse),
        lambda v: plainly(ode, v, context, probe, reverse),
    ):
        inputs = x.clone().requires_grad_()
        y, log_det = run(inputs)
        loss = (y * weights[0]).sum() + (log_det * weights[1]).sum()
        wanted = [inputs, *ode.parameters()] + ([context] if c else [])
        found.append((y, log_det, torch.autograd.grad(loss, wanted)))
    (y, log_det, gradients), (y2, log_det2, plain) = found
    assert torch.allclose(y, y2, atol=1e-12) and torch.allclose(log_det, log_det2, atol=1e-12)
    for a, b in zip(gradients, plain, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11)
        assert float(b.abs().max()) > 1e-6


def test_the_gradient_is_that_of_the_exact_solution_as_steps_grow():
    """Differences of the adaptive solution along one direction of all parameters."""
    ode, x, step = layer(steps=40), numbers(1, 5, 3), 1e-5
    directions = [numbers(30 + i, *p.shape) for i, p in enumerate(ode.parameters())]

    def loss(epsilon):
        with torch.no_grad():
            for p, v in zip(ode.parameters(), directions, strict=True):
                p += epsilon * v
            ode.solver = AdaptiveFlow(Adaptive(Rms(1e-10, 1e-10)), 1e-9)
            y, log_det = ode(x)
            for p, v in zip(ode.parameters(), directions, strict=True):
                p -= epsilon * v
        return float(y.square().sum() + log_det.sum())

    y, log_det = ode(x)
    gradients = torch.autograd.grad(y.square().sum() + log_det.sum(), list(ode.parameters()))
    slope = sum(float((g * v).sum()) for g, v in zip(gradients, directions, strict=True))
    assert slope == pytest.approx((loss(step) - loss(-step)) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("c", [0, 2])
def test_log_determinant_and_inverse(c):
    ode = layer(context=c, steps=25)
    x, context = numbers(2, 4, 3), numbers(3, 4, c) if c else None
    bound = ode.given(context)
    y, log_det = bound.forward(x)
    columns = [
        torch.autograd.grad(bound.forward(v)[0][:, i].sum(), v)[0]
        for i in range(3)
        for v in [x.clone().requires_grad_()]
    ]
    assert torch.allclose(log_det, torch.linalg.slogdet(torch.stack(columns, 1))[1], atol=1e-6)
    back, log_det_back = bound.inverse(y)
    assert torch.allclose(back, x, atol=1e-6) and torch.allclose(log_det_back, -log_det, atol=1e-6)
    with torch.no_grad():
        solved, exact = bound.forward(x)
        assert torch.allclose(solved, y, atol=1e-4) and torch.allclose(exact, log_det, atol=1e-3)


def test_a_linear_velocity_is_the_matrix_exponential():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(0.5 * numbers(7, 3, 3))

        def forward(self, t, x, context=None):
            return x @ self.matrix.T

    ode, x = Ode(Linear(), 30), numbers(8, 5, 3)
    y, log_det = ode(x)
    assert torch.allclose(y, x @ torch.matrix_exp(ode.velocity.matrix).T, atol=1e-6)
    assert torch.allclose(log_det, ode.velocity.matrix.trace().expand(5), atol=1e-10)


def test_probes_are_unbiased_and_belong_to_their_samples():
    ode, x = layer(), numbers(4, 1, 3).expand(4000, 3)
    exact = ode(x[:1])[1]
    draws = Draws.of(0, range(4000))
    found = ode.drawn(draws).forward(x)[1].detach()
    assert float(found.std()) > 1e-2
    assert abs(float(found.mean() - exact.detach())) < 4 * float(found.std()) / math.sqrt(4000)
    alone = ode.drawn(draws[7:8]).forward(x[:1])[1]
    assert torch.allclose(alone, found[7:8], atol=1e-12)
    assert torch.allclose(ode.drawn(draws[:9]).inverse(x[:9])[1], -found[:9], atol=1.0)


def test_maximum_likelihood_finds_a_gaussian():
    """N((1, −1), diag(0.5², 2²)): the negative log-likelihood comes down to the entropy, and the density is one."""
    torch.manual_seed(0)
    flow = Flow(StandardGaussian((2,)), Ode(VelocityMLP(2, (16,)), steps=2))
    x = torch.tensor([0.5, 2.0]) * normal(torch.tensor([5]), (300, 2))[0] + torch.tensor([1.0, -1.0])
    optimiser = torch.optim.Adam(flow.parameters(), lr=3e-2)
    for i in range(80):
        loss = -flow.log_prob(x, None, Draws.of(0, range(300)).at(i)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    entropy = math.log(2 * math.pi * math.e)
    with torch.no_grad():
        assert entropy - 0.15 < -float(flow.log_prob(x).mean()) < entropy + 0.1
        side = torch.linspace(-10, 10, 51)
        total = float(flow.log_prob(torch.cartesian_prod(side, side)).exp().sum()) * 0.4**2
    assert total == pytest.approx(1, abs=2e-3)


def test_in_a_chain_each_part_is_told():
    ode = layer(2)
    chain = Chain(Scale(2.0), ode)
    x, draws = numbers(5, 6, 2), Draws.of(0, range(6))
    assert Chain(Scale(2.0)).drawn(draws) is not chain and chain.drawn(draws) is not chain
    plain = Chain(Scale(2.0), Scale(0.5))
    assert plain.drawn(draws) is plain
    estimated, exact = chain.drawn(draws).forward(x)[1], chain(x)[1]
    assert not torch.allclose(estimated, exact, atol=1e-6)
    assert torch.allclose(chain.drawn(draws).forward(x)[0], chain(x)[0])


def test_turned_round_it_is_told_too():
    ode, x, draws = layer(2), numbers(5, 6, 2), Draws.of(0, range(6))
    there, back = ode.drawn(draws).inverse(x), Inverse(ode).drawn(draws).forward(x)
    assert torch.equal(there[0], back[0]) and torch.equal(there[1], back[1])
    plain = Inverse(Scale(2.0))
    assert plain.drawn(draws) is plain


def test_a_velocity_that_does_not_depend_on_x_only_shifts():
    class Constant(nn.Module):
        def forward(self, t, x, context=None):
            return torch.ones_like(x)

    x = numbers(6, 3, 2)
    y, log_det = Ode(Constant(), 3)(x)
    assert torch.allclose(y, x + 1) and torch.equal(log_det, torch.zeros(3, dtype=F64))
    assert log_abs_det(lambda v: v + 1, x)[1].abs().max() < 1e-12


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Ode(VelocityMLP(2), steps=0), "steps=0"),
        (lambda: VelocityMLP(0), "features=0"),
        (lambda: VelocityMLP(2, (0,)), r"hidden\[0\]=0"),
        (lambda: layer(2)(numbers(0, 4, 3)), "built for 2 features"),
        (lambda: layer(2, 1)(numbers(0, 4, 2)), "condition of 1 numbers"),
    ],
)
def test_mistakes_get_one_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()
