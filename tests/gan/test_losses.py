"""Losses and penalties: the best discriminators, the values there, and the dynamics, all known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward.errors import UserError
from pushforward.gan import (
    R1,
    R2,
    GradientPenalty,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    Shown,
    Wasserstein,
)
from pushforward.numerics.random import Draws

LOSSES = (Relativistic(), Minimax(), NonSaturating(), LeastSquares(), Hinge(), Wasserstein())
GRID = torch.linspace(-8, 9, 171, dtype=torch.float64)


def density(mean, deviation=1.0):
    """N(mean, deviation²) on the grid, as weights that sum to one."""
    weight = torch.exp(-0.5 * ((GRID - mean) / deviation) ** 2)
    return weight / weight.sum()


def best(loss, p, q, start=None):
    """The free values D on the grid that minimise the discriminator's loss over all pairs, and that loss."""
    values = torch.zeros_like(GRID).requires_grad_() if start is None else start
    optimiser = torch.optim.LBFGS([values], max_iter=400, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def total():
        pairs = torch.broadcast_tensors(values[:, None], values[None])
        return (p[:, None] * q[None] * loss.discriminator(*pairs)).sum()

    def closure():
        optimiser.zero_grad()
        value = total()
        value.backward()
        return value

    optimiser.step(closure)
    return values.detach(), float(total().detach())


@pytest.mark.parametrize("theta", [0.0, 0.5, 1.0, 2.0])
def test_minimax_finds_the_log_ratio_and_minus_its_known_value(theta):
    published = {0.0: 1.38629, 0.5: 1.32567, 1.0: 1.16345, 2.0: 0.71263}[theta]
    for loss in (Minimax(), NonSaturating()):
        found, value = best(loss, density(0.0), density(theta))
        assert value == pytest.approx(published, abs=2e-5)
        inside = (GRID > -2) & (GRID < 2)
        assert torch.allclose(found[inside], (0.5 * theta**2 - theta * GRID)[inside], atol=0.01)


def test_least_squares_finds_the_posterior_of_real():
    p, q = density(0.0), density(1.0)
    found, value = best(LeastSquares(), p, q)
    inside = (GRID > -2) & (GRID < 2)
    assert torch.allclose(found[inside], (p / (p + q))[inside], atol=1e-3)
    assert value == pytest.approx(float(0.5 * (p * q / (p + q)).sum()), abs=1e-6)


@pytest.mark.parametrize(("theta", "published"), [(1.0, 1.2342), (2.0, 0.6346)])
def test_hinge_measures_total_variation(theta, published):
    """The loss is separable and convex in the values: the best one of each node is searched for."""
    p, q = density(0.0), density(theta)
    values = torch.linspace(-2, 2, 401, dtype=torch.float64)[:, None]
    edge = torch.ones((), dtype=torch.float64)
    cost = p * Hinge().discriminator(values, -edge) + q * Hinge().discriminator(edge, values)
    least, where = cost.min(0)
    assert float(least.sum()) == pytest.approx(published, abs=2e-3)  # the edge lies between two nodes
    assert float(least.sum()) == pytest.approx(2 * (1 - 0.5 * float((p - q).abs().sum())), abs=1e-9)
    clear = (p - q).abs() > 1e-6
    assert torch.equal(values[where, 0][clear], torch.sign(p - q)[clear])


def test_relativistic_is_log_two_at_equality_and_less_elsewhere():
    p = density(0.0)
    found, value = best(Relativistic(), p, p)
    assert value == pytest.approx(math.log(2), abs=1e-9) and float(found.abs().max()) < 1e-6
    _, apart = best(Relativistic(), p, density(2.0))
    assert apart < 0.4
    nothing = torch.zeros(1)
    assert float(Relativistic().generator(nothing, nothing)) == pytest.approx(math.log(2))


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-5, 5))
def test_only_differences_count_to_the_relativistic_loss(real, fake, shift):
    r, f = torch.tensor([real]).double(), torch.tensor([fake]).double()
    loss = Relativistic()
    assert torch.allclose(loss.discriminator(r, f), loss.discriminator(r + shift, f + shift))
    assert torch.allclose(loss.generator(r, f), loss.generator(r + shift, f + shift))


def test_only_the_relativistic_generator_looks_at_real_values():
    real, fake = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 0.2])
    for loss in LOSSES:
        differs = not torch.equal(loss.generator(real, fake), loss.generator(real + 1, fake))
        assert differs == loss.paired == isinstance(loss, Relativistic)


def test_the_minimax_generator_saturates_and_the_other_does_not():
    fake = torch.tensor([-12.0], requires_grad=True)
    slopes = [
        float(torch.autograd.grad(loss.generator(fake.detach(), fake).sum(), fake)[0])
        for loss in (Minimax(), NonSaturating(), Relativistic())
    ]
    assert abs(slopes[0]) < 1e-5 and slopes[1] == pytest.approx(-1, abs=1e-4) and slopes[2] == pytest.approx(-0.5)
    assert all(slope < 0 for slope in slopes)


# -- penalties -----------------------------------------------------------------------------------------------------


def linear(slope):
    return lambda x, draws: x.flatten(1) @ slope


@pytest.mark.parametrize(("theta", "weight"), [(2.0, 10.0), (1.0, 2.0)])
def test_linear_critic_under_the_gradient_penalty(theta, weight):
    """Its slope is 1 + θ/2λ and its value θ + θ²/4λ: the penalised "distance" is too large by θ²/4λ."""
    draws = Draws.of(0, range(64))
    fake = draws.normal((1,), torch.float64)
    slope = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([slope], max_iter=100, tolerance_grad=1e-14)

    def closure():
        optimiser.zero_grad()
        shown = Shown(linear(slope), fake + theta, fake, draws, slopes=False)
        value = Wasserstein().discriminator(shown.real_values, shown.fake_values)
        loss = (value + GradientPenalty(weight)(shown)).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert slope.item() == pytest.approx(1 + theta / (2 * weight), abs=1e-6)
    assert -closure().item() == pytest.approx(theta + theta**2 / (4 * weight), abs=1e-6)
    if (theta, weight) == (2.0, 10.0):
        assert slope.item() == pytest.approx(1.1) and -closure().item() == pytest.approx(2.1)


def quadratic(x, draws):
    """½‖x‖² per item, whose slope is x itself."""
    return 0.5 * x.flatten(1).square().sum(1)


def test_penalties_are_half_gamma_times_a_sum_over_coordinates_of_each_item():
    draws = Draws.of(3, range(5))
    real, fake = draws.at("a").normal((2, 3, 3)), draws.at("b").normal((2, 3, 3))
    shown = Shown(quadratic, real, fake, draws)
    assert torch.allclose(R1(0.7)(shown), 0.35 * real.flatten(1).square().sum(1))
    assert torch.allclose(R2(0.7)(shown), 0.35 * fake.flatten(1).square().sum(1))
    assert R1(0.7)(shown).shape == (5,)


def test_the_gradient_penalty_is_per_item_between_each_pair_at_its_own_place():
    """On a line from −1 to 1 the slope is the place itself, so that each item's place can be read off."""
    draws = Draws.of(4, range(200))
    real, fake = torch.ones(200, 1).double(), -torch.ones(200, 1).double()
    found = GradientPenalty(1.0, target=0.0)(Shown(quadratic, real, fake, draws, slopes=False)).detach()
    share = draws.at("between").uniform()
    assert torch.allclose(found, (2 * share - 1).double() ** 2, atol=1e-6)
    assert float(found.std()) > 0.2  # one place for the whole batch would give a single value
    # Per item, not of the mean: E(‖∇‖ − 1)² is not (E‖∇‖ − 1)².
    penalty = GradientPenalty(1.0)(Shown(quadratic, real, fake, draws, slopes=False))
    assert torch.allclose(penalty, ((2 * share - 1).abs().double() - 1) ** 2, atol=1e-5)


@pytest.mark.parametrize("penalty", [R1(1.0), R2(1.0), GradientPenalty(1.0)])
def test_penalties_train_the_discriminator(penalty):
    """Against a difference quotient in the discriminator's own parameter: without a graph of slopes it would be 0."""
    draws = Draws.of(5, range(8))
    real, fake = draws.at("a").normal((2,), torch.float64), draws.at("b").normal((2,), torch.float64)

    def total(slope):
        critic = lambda x, d: torch.tanh(x @ slope)  # noqa: E731
        return penalty(Shown(critic, real, fake, draws)).mean()

    slope = torch.tensor([0.4, -0.7], dtype=torch.float64, requires_grad=True)
    [found] = torch.autograd.grad(total(slope), slope)
    step = torch.tensor([1e-6, 0.0], dtype=torch.float64)
    quotient = (total(slope.detach() + step) - total(slope.detach() - step)) / 2e-6
    assert float(found[0]) == pytest.approx(quotient.item(), rel=1e-5) and abs(quotient.item()) > 1e-3


def test_slopes_are_found_where_nothing_trains():
    draws = Draws.of(3, range(5))
    real, fake = draws.at("a").normal((2,)), draws.at("b").normal((2,))
    with torch.no_grad():
        shown = Shown(quadratic, real, fake, draws)
        found = R1(2.0)(shown)
    assert torch.allclose(found, real.square().sum(1)) and not found.requires_grad
    with pytest.raises(UserError, match="shown without"):
        R1(1.0)(Shown(quadratic, real, fake, draws, slopes=False))


def test_a_constant_discriminator_has_a_finite_gradient_under_the_gradient_penalty():
    slope = torch.zeros(2, requires_grad=True)
    draws = Draws.of(3, range(5))
    shown = Shown(linear(slope), draws.at("a").normal((2,)), draws.at("b").normal((2,)), draws, slopes=False)
    GradientPenalty()(shown).mean().backward()
    assert torch.isfinite(slope.grad).all()


@pytest.mark.parametrize("penalty", [R1, R2, GradientPenalty])
@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_weights_that_are_none_are_refused(penalty, weight):
    with pytest.raises(UserError, match="weight"):
        penalty(weight)


# -- the smallest game: data at 0, one generated point θ, D(x) = ψx ---------------------------------------------------


def pull(loss, penalties, theta, psi):
    """(dθ/dt, dψ/dt), the gradients of both players at once, at two numbers."""
    t, p = (torch.tensor(float(v), dtype=torch.float64, requires_grad=True) for v in (theta, psi))
    shown = Shown(lambda x, d: p * x[:, 0], torch.zeros(1, 1).double(), t.reshape(1, 1), Draws.of(0, [0]))
    mine = loss.discriminator(shown.real_values, shown.fake_values) + sum(rule(shown) for rule in penalties)
    theirs = loss.generator(torch.zeros(1).double(), (p * t).reshape(1))
    [d_psi] = torch.autograd.grad(mine.sum(), p)
    [d_theta] = torch.autograd.grad(theirs.sum(), t)
    return torch.stack((-d_theta, -d_psi))


def place(value):
    return round(value.real, 5), value.imag


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_eigenvalues_of_the_smallest_game(gamma):
    """−γ/2 ± ½√(γ² − 1) with R1; the relativistic pairing with both penalties has γ twice."""
    for loss, penalties, g in (
        (NonSaturating(), (R1(gamma),), gamma),
        (Minimax(), (R1(gamma),), gamma),
        (Relativistic(), (R1(gamma), R2(gamma)), 2 * gamma),
    ):
        columns = [
            (pull(loss, penalties, a, b) - pull(loss, penalties, -a, -b)) / 2e-5 for a, b in ((1e-5, 0), (0, 1e-5))
        ]
        jacobian = torch.stack(columns, 1)
        found = sorted(torch.linalg.eigvals(jacobian).tolist(), key=place)
        root = complex(g * g - 1) ** 0.5
        expected = sorted((-g / 2 + s * root / 2 for s in (-1, 1)), key=place)
        assert all(abs(a - b) < 1e-4 for a, b in zip(found, expected, strict=True)), (loss, found, expected)


@pytest.mark.parametrize(
    ("gamma", "norm"), [(0.0, 0.521), (0.1, 0.100), (0.5, 5e-6), (1.0, 6e-10)], ids=lambda v: f"{v:g}"
)
def test_simulated_norms_of_the_smallest_game(gamma, norm):
    """Five hundred steps of 0.1 of both players at once, from (1, 1)."""
    at = torch.ones(2, dtype=torch.float64)
    for _ in range(500):
        at = at + 0.1 * pull(NonSaturating(), (R1(gamma),), *at.tolist())
    assert float(at.norm()) == pytest.approx(norm, rel=0.1)
