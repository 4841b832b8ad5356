"""T04: adversarial losses and penalties against games that are solved in closed form."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pushforward.gan import (
    R1,
    R2,
    GradientPenalty,
    Hinge,
    Loss,
    Minimax,
    NonSaturating,
    Penalty,
    Relativistic,
    Shown,
    Wasserstein,
    expected_coverage,
)
from pushforward.gan.diagnostics import coverage
from pushforward.numerics.random import Draws
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import largest

GRID = torch.linspace(-8, 9, 341, dtype=torch.float64)
VALUES = torch.linspace(-12, 12, 4801, dtype=torch.float64)[:, None]
MINIMAX = {0.0: 1.38629, 0.5: 1.32567, 1.0: 1.16345, 2.0: 0.71263}
"""log 4 − 2·JSD of N(0, 1) and N(θ, 1)."""


def weights(mean: float) -> Tensor:
    """N(mean, 1) on the grid."""
    found = torch.exp(-0.5 * (GRID - mean).square())
    return found / found.sum()


def best(loss: Loss, theta: float, rest: float) -> tuple[Tensor, Tensor]:
    """The best value D at every point of the grid, found by trying all, and what each costs.

    The two terms of the loss are separated by a value `rest` whose own term is known to be zero.
    """
    p, q = weights(0.0), weights(theta)
    quiet = torch.tensor(rest, dtype=torch.float64)
    cost = p * loss.discriminator(VALUES, -quiet) + q * loss.discriminator(quiet, VALUES)
    least, where = cost.min(0)
    return VALUES[where, 0], least


def log_ratio(loss: Loss | None = None) -> Finding:
    """The best D of minimax is log p/q; its loss is log 4 − 2 JSD."""
    loss = loss or Minimax()
    errors, shown = [], []
    for theta, published in MINIMAX.items():
        found, cost = best(loss, theta, 800.0)
        inside = GRID.abs() < 2
        errors.append(10 * largest(float(cost.sum()) - published))
        errors.append(0.01 * largest((found - (0.5 * theta**2 - theta * GRID))[inside]))
        shown.append(f"{float(cost.sum()):.4f}")
    return Finding(max(errors), "values " + ", ".join(shown))


def total_variation(loss: Loss | None = None) -> Finding:
    """The least hinge loss is 2(1 − TV), with D the sign of p − q."""
    errors, shown = [], []
    for theta in (1.0, 2.0):
        _, cost = best(loss or Hinge(), theta, 1.0)
        distance = math.erf(theta / (2 * math.sqrt(2)))
        errors.append(float(cost.sum()) - 2 * (1 - distance))
        shown.append(f"{float(cost.sum()):.4f}")
    return Finding(largest(*errors), "values " + ", ".join(shown))


def linear_critic(penalty: Callable[[float], Penalty] = GradientPenalty, theta: float = 2.0) -> Finding:
    """A linear critic of a shift θ under WGAN-GP: slope 1 + θ/2λ, value θ + θ²/4λ; by Newton's method on a parabola."""
    weight, draws = 10.0, Draws.of(0, range(16))
    x = draws.normal((1,), torch.float64)

    def loss(slope: Tensor) -> Tensor:
        shown = Shown(lambda items, _: items[:, 0] * slope, x + theta, x, draws)
        return (Wasserstein().discriminator(shown.real_values, shown.fake_values) + penalty(weight)(shown)).mean()

    at = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    [first] = torch.autograd.grad(loss(at), at, create_graph=True)
    [second] = torch.autograd.grad(first, at)
    slope = (at - first / second).detach().requires_grad_()
    value = -float(loss(slope).detach())
    expected = 1 + theta / (2 * weight), theta + theta**2 / (4 * weight)
    return Finding(
        largest(float(slope.detach()) - expected[0], value - expected[1]),
        f"slope {float(slope.detach()):.4f}, value {value:.4f}",
    )


def pull(loss: Loss, penalties: Sequence[Penalty], theta: float, psi: float) -> Tensor:
    """(dθ/dt, dψ/dt) of the smallest game: data at 0, one generated point θ, D(x) = ψx."""
    t, p = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (theta, psi))
    shown = Shown(lambda x, _: p * x[:, 0], torch.zeros(1, 1).double(), t.reshape(1, 1), Draws.of(0, [0]))
    mine = loss.discriminator(shown.real_values, shown.fake_values).sum()
    for rule in penalties:
        mine = mine + rule(shown).sum()
    theirs = loss.generator(torch.zeros(1, dtype=torch.float64), (p * t).reshape(1)).sum()
    [d_psi] = torch.autograd.grad(mine, p)
    [d_theta] = torch.autograd.grad(theirs, t)
    return -torch.stack((d_theta, d_psi))


def eigenvalues(penalty: Callable[[float], Penalty] = R1, step: float = 1e-5) -> Finding:
    """−γ/2 ± ½√(γ² − 1) with R1; the relativistic pairing with R1 and R2 has twice the γ."""
    errors = []
    for gamma in (0.0, 0.5, 2.0, 4.0):
        games: tuple[tuple[Loss, tuple[Penalty, ...], float], ...] = (
            (NonSaturating(), (penalty(gamma),), gamma),
            (Relativistic(), (penalty(gamma), R2(gamma)), 2 * gamma),
        )
        for loss, penalties, g in games:
            columns = [
                (pull(loss, penalties, *at) - pull(loss, penalties, *(-v for v in at))) / (2 * step)
                for at in ((step, 0.0), (0.0, step))
            ]
            found = torch.linalg.eigvals(torch.stack(columns, 1)).tolist()
            root = cmath.sqrt(g * g - 1)
            for expected in ((-g - root) / 2, (-g + root) / 2):
                errors.append(min(abs(value - expected) for value in found))
    return Finding(max(errors))


def recursion(gamma: float, steps: int, rate: float) -> float:
    """|(θ, ψ)| of the smallest non-saturating game with R1, its two gradients written out."""
    theta = psi = 1.0
    for _ in range(steps):
        share = 1 / (1 + math.exp(-psi * theta))
        theta, psi = theta + rate * psi * (1 - share), psi - rate * (theta * share + gamma * psi)
    return math.hypot(theta, psi)


def smallest_game(penalty: Callable[[float], Penalty] = R1) -> Finding:
    """500 steps of 0.1 of both players at once from (1, 1): without a penalty they never arrive."""
    errors, shown = [], []
    for gamma in (0.0, 0.5):
        at = torch.ones(2, dtype=torch.float64)
        for _ in range(500):
            at = at + 0.1 * pull(NonSaturating(), (penalty(gamma),), *at.tolist())
        errors.append(float(at.norm()) / recursion(gamma, 500, 0.1) - 1)
        shown.append(f"{float(at.norm()):.2g}")
    return Finding(largest(*errors), "norms " + ", ".join(shown))


def covered(shift: float = 0.0, trials: int = 100) -> Finding:
    """Coverage of a law by samples of itself is ∏-known, whatever the law; in standard errors."""
    found = []
    for i in range(trials):
        draws = Draws.of(i, range(64), "coverage")
        real, fake = draws.at("real").normal((3,)), draws.at("fake").normal((3,)) + shift
        found.append(float(coverage(real.exp(), fake.exp()).mean()))
    values = torch.tensor(found, dtype=torch.float64)
    error = float((values.mean() - expected_coverage(64)) / (values.std() / math.sqrt(trials)))
    return Finding(error, f"{float(values.mean()):.4f} and {expected_coverage(64):.4f}")


CHECKS = (
    Check(
        "the best discriminator is log p/q", "T04", "all values tried, with log 4 − 2 JSD of normals", 1e-3, log_ratio
    ),
    Check(
        "the hinge measures total variation",
        "T04",
        "all values tried, with 2(1 − TV) of normals",
        2e-3,
        total_variation,
    ),
    Check("WGAN-GP exceeds the distance by θ²/4λ", "T04", "a linear critic, closed form", 1e-9, linear_critic),
    Check("eigenvalues of the smallest game", "T04", "difference quotients with −γ/2 ± ½√(γ² − 1)", 1e-6, eigenvalues),
    Check("the smallest game, simulated", "T04", "500 steps with the same written out, relative", 1e-9, smallest_game),
    Check("coverage of a law by itself", "T04", "counted orders of distances, standard errors", 4.0, covered),
)
