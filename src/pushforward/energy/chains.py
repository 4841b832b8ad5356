"""Markov chains that leave a density known up to its constant invariant, and the size of their steps.

Langevin dynamics x + ε∇log γ + √(2ε) z moves to a density that is off by O(ε). The Metropolis test that accepts a
move with probability min(1, e^{−ΔH}) makes it exact at any ε. Both are Hamiltonian dynamics with a fresh momentum,
H = −log γ(x) + ½‖p‖², leapfrog steps of h = √(2ε): one leap is MALA, several go further before they forget.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from pushforward.energy.point import Point, Target, along, chosen
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand, sum_per_sample
from pushforward.numerics.random import Draws


class Moved(NamedTuple):
    """Where the chains are, and the probability (B,) with which each move was accepted."""

    point: Point
    accepted: Tensor


class Kernel(Protocol):
    """A frozen rule that moves chains once; `step` is ε, for all chains or one per chain (B,)."""

    @property
    def step(self) -> Scalar: ...

    @property
    def wanted(self) -> float:
        """The acceptance at which it explores fastest in many dimensions."""
        ...

    def sized(self, step: Scalar) -> Kernel:
        """The same rule with another step."""
        ...

    def __call__(self, target: Target, point: Point, draws: Draws, /) -> Moved: ...


def _check_step(step: Scalar) -> None:
    if not isinstance(step, Tensor) and not (math.isfinite(step) and step > 0):
        raise UserError(f"the step of a chain must be a positive number; got {step}")


@dataclass(frozen=True)
class Unadjusted:
    """Langevin dynamics x + ε∇log γ + √(2ε) z, never refused: its limit is off by O(ε)."""

    step: Scalar
    wanted: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        _check_step(self.step)

    def sized(self, step: Scalar) -> Unadjusted:
        return Unadjusted(step)

    def __call__(self, target: Target, point: Point, draws: Draws, /) -> Moved:
        kick = expand((2 * self.step) ** 0.5, point.x) * draws.at("noise").normal_like(point.x)
        new = target(point.x + along(point, self.step) + kick)
        return Moved(new, torch.ones_like(new.value))


@dataclass(frozen=True)
class MALA:
    """Metropolis-adjusted Langevin: Langevin's move, accepted or refused (Roberts & Tweedie 1996); one evaluation.

    The best acceptance in many dimensions is 0.574 (Roberts & Rosenthal 1998).
    """

    step: Scalar
    wanted: ClassVar[float] = 0.574

    def __post_init__(self) -> None:
        _check_step(self.step)

    def sized(self, step: Scalar) -> MALA:
        return MALA(step)

    def __call__(self, target: Target, point: Point, draws: Draws, /) -> Moved:
        return _leap(target, point, draws, self.step, 1)


@dataclass(frozen=True)
class HMC:
    """Hamiltonian Monte Carlo: `leaps` leapfrog steps of h = √(2ε), one evaluation each, then the Metropolis test.

    The best acceptance in many dimensions is 0.651 (Neal 2011; Beskos et al. 2013).
    """

    step: Scalar
    leaps: int = 5
    wanted: ClassVar[float] = 0.651

    def __post_init__(self) -> None:
        _check_step(self.step)
        if self.leaps < 1:
            raise UserError(f"a Hamiltonian path takes at least one leap; got {self.leaps}")

    def sized(self, step: Scalar) -> HMC:
        return replace(self, step=step)

    def __call__(self, target: Target, point: Point, draws: Draws, /) -> Moved:
        return _leap(target, point, draws, self.step, self.leaps)


def _leap(target: Target, point: Point, draws: Draws, step: Scalar, leaps: int) -> Moved:
    """Leapfrog with a fresh momentum and the Metropolis test; where the density is not finite nothing is accepted."""
    h = (2 * step) ** 0.5
    momentum = draws.at("momentum").normal_like(point.x)
    before = point.value - 0.5 * sum_per_sample(momentum.square())
    new = point
    for _ in range(leaps):
        momentum = momentum + along(new, 0.5 * h)
        new = target(new.x + expand(h, momentum) * momentum)
        momentum = momentum + along(new, 0.5 * h)
    gain = new.value - 0.5 * sum_per_sample(momentum.square()) - before
    accepted = torch.where(gain.isfinite(), gain.clamp(max=0).exp(), 0.0)
    u = draws.at("accept").uniform((), accepted.dtype)
    return Moved(chosen(u < accepted, new, point), accepted)


def mala_step(dim: int, scale: float = 1.0) -> float:
    """ε = ½ ℓ² scale² d^{−1/3} with ℓ = 1.65: acceptance near 0.574 on a normal of this deviation in d dimensions."""
    return 0.5 * 1.65**2 * scale**2 * dim ** (-1 / 3)


def run_chain(target: Target, kernel: Kernel, point: Point, moves: int, draws: Draws) -> Iterator[Moved]:
    """The states after each of `moves` moves, one at a time."""
    for i in range(moves):
        moved = kernel(target, point, draws.at("move", i))
        point = moved.point
        yield moved


class Fitted(NamedTuple):
    """A kernel whose step was fitted, and where its chains had come to."""

    kernel: Kernel
    point: Point


def fit_step(target: Target, kernel: Kernel, point: Point, moves: int, draws: Draws) -> Fitted:
    """The step at which the chains' mean acceptance is the wanted one, by dual averaging (Hoffman & Gelman 2014).

    The chains move while it is fitted; afterwards it stays as it is, so that what follows is exact.
    """
    start = math.log(float(torch.as_tensor(kernel.step).double().mean()))
    miss, average = 0.0, start
    for i in range(1, moves + 1):
        moved = kernel(target, point, draws.at("fit", i))
        point = moved.point
        miss += (kernel.wanted - float(moved.accepted.double().mean()) - miss) / (i + 10)
        log_step = start + math.log(2) - math.sqrt(i) / 0.05 * miss
        average += i**-0.75 * (log_step - average)
        kernel = kernel.sized(math.exp(log_step))
    return Fitted(kernel.sized(math.exp(average)), point)
