"""Minimise, or sample by Langevin dynamics, prior energy plus constraint: F(h(η)) − log c(h(η))."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import NumericalError, UserError
from pushforward.inverse.steps.reddiff import Adam
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.paths.grids import check_steps
from pushforward.plugplay.constraint import Constraint, Parametrisation, Rule, asked, obeyed, pull_of, shaped
from pushforward.plugplay.energy import Energy
from pushforward.plugplay.schedule import Annealed, Schedule, everywhere

Strength = Callable[[float], float]
"""Share of the steps that are done, in [0, 1) -> the factor on the constraint."""


def full_strength(done: float) -> float:
    """The constraint as it is, from the first step to the last."""
    return 1.0


def identity(eta: Tensor) -> Tensor:
    """x itself is looked for."""
    return eta


@dataclass(frozen=True)
class Seen:
    """What an observer is shown after each step: η, and of the step's x the energy and the cost (B,)."""

    step: int
    total: int
    level: Level | None
    eta: Tensor
    energy: Tensor
    cost: Tensor


Watcher = Callable[[Seen], None]


@dataclass(frozen=True)
class Descent:
    """A point where prior and constraint agree: Adam on a fresh draw of the energy in every step.

    A point estimate, not a draw of the posterior: where the energy is quadratic it is the posterior's mean. The rate
    falls linearly to a hundredth, so that the end is at rest.
    """

    steps: int = 500
    rate: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: Schedule = Annealed()  # noqa: RUF009 - frozen
    strength: Strength = full_strength

    def __post_init__(self) -> None:
        check_steps(self.steps)
        _check_positive("rate", self.rate)

    def __call__(
        self,
        energy: Energy,
        constraint: Constraint,
        start: Tensor,
        draws: Draws,
        *,
        h: Parametrisation = identity,
        rule: Rule | None = None,
        watch: Watcher | None = None,
    ) -> Tensor:
        """η (B, …) at the end, from `start`; `h` gives x = h(η), `rule` puts η right after each step.

        Raises what `asked`, `shaped` and `obeyed` raise; NumericalError where a gradient is not finite.
        """
        eta, optimiser = _begun(start, draws), Adam(self.rate, self.betas)
        for i in range(self.steps):
            level = self.schedule(energy.denoiser.path, i, self.steps)
            pull = self.strength(i / self.steps)
            gradient, seen = _gradient(energy, constraint, eta, level, draws.at(i), h, pull)
            eta = optimiser.descend(eta, gradient, max(0.01, 1 - i / self.steps))
            eta = eta if rule is None else obeyed(rule, eta)
            if watch:
                watch(Seen(i + 1, self.steps, level, eta, *seen))
        return eta


@dataclass(frozen=True)
class LangevinSampling:
    """Draws of p(x) c(x): x ← x − ε∇(F − log c) + √(2ε) n.

    Unadjusted: ε small beside the narrowest width of the posterior, squared, and F from `elbo` weights, or another law
    is drawn from. `size` is ε where the schedule is `everywhere`, and ε/(σ/α)² of the step's level where it
    anneals, but ε never above `size`.
    """

    steps: int = 1000
    size: float = 1e-2
    schedule: Schedule = everywhere
    strength: Strength = full_strength

    def __post_init__(self) -> None:
        check_steps(self.steps)
        _check_positive("size", self.size)

    def __call__(
        self,
        energy: Energy,
        constraint: Constraint,
        start: Tensor,
        draws: Draws,
        *,
        h: Parametrisation = identity,
        rule: Rule | None = None,
        watch: Watcher | None = None,
    ) -> Tensor:
        """One draw of η for each item (B, …); see `Descent`."""
        eta = _begun(start, draws)
        for i in range(self.steps):
            level = self.schedule(energy.denoiser.path, i, self.steps)
            own = draws.at(i)
            gradient, seen = _gradient(energy, constraint, eta, level, own, h, self.strength(i / self.steps))
            size = self.size * (1.0 if level is None else min(1.0, float(level.ratio) ** 2))
            eta = eta - size * gradient + math.sqrt(2 * size) * own.at("langevin").normal_like(eta)
            eta = eta if rule is None else obeyed(rule, eta)
            if watch:
                watch(Seen(i + 1, self.steps, level, eta, *seen))
        return eta


def _gradient(
    energy: Energy,
    constraint: Constraint,
    eta: Tensor,
    level: Level | None,
    draws: Draws,
    h: Parametrisation,
    strength: float,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """∇_η of the sum, and its two parts (B,); items know nothing of one another."""
    with torch.enable_grad():
        eta = eta.detach().requires_grad_()
        x = shaped(h, eta)
        prior = energy.everywhere(x, draws) if level is None else energy.at(x, level, draws)
        cost = asked(constraint, x)
        (rise,) = torch.autograd.grad(prior.sum(), x)
        (gradient,) = torch.autograd.grad(x, eta, rise + strength * pull_of(cost, x))
    if not bool(torch.isfinite(gradient).all()):
        raise NumericalError(
            "the gradient of energy and constraint is not finite: lower the rate, or look for a square root or a "
            "logarithm near 0 in the constraint"
        )
    return gradient, (prior.detach(), cost.detach())


def _begun(start: Tensor, draws: Draws) -> Tensor:
    """A copy of the start. Raises UserError unless it holds finite floats, one item for each of the draws."""
    if not start.is_floating_point() or not bool(torch.isfinite(start).all()):
        raise UserError(f"the start must be a tensor of finite floating-point numbers; got one of {start.dtype}")
    if start.shape[:1] != (len(draws),):
        raise UserError(f"each item has draws of its own; got a start {tuple(start.shape)} and draws of {len(draws)}")
    return start.detach().clone()


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UserError(f"the {name} must be a positive number; got {value}")
