"""Exponential multistep solvers of the probability flow, of any order, in one class.

The flow is linear in the state and in one quantity Q that varies slowly; the state is integrated exactly and Q is
interpolated in λ = log(α/σ) through its last values, so x_s = A x_t + Σ_j w_j Q_j with Σ_j w_j exact.

| quantity | Q | A | weight function of λ | known as |
|---|---|---|---|---|
| `DataQuantity` | mean | σ_s/σ_t | σ_s e^λ | DPM-Solver++ (Lu et al. 2022), order 1 is DDIM |
| `NoiseQuantity` | noise | α_s/α_t | −α_s e^{−λ} | DPM-Solver (Lu et al. 2022) |
| `BalancedQuantity` | F of EDM | √D_s/√D_t | √D_s σ_d ρ/(σ_d² + ρ²), ρ = e^{−λ} | exponential Adams-Bashforth |
| `RenewedQuantity` | mean | σ_s²α_t/(σ_t²α_s) | 2 σ_s²/α_s e^{2λ} | SDE-DPM-Solver++, order 1 is DDPM |

D = α²σ_d² + σ². The weights are integrals of the Lagrange polynomials by Gauss-Legendre quadrature: of full order at
every order, where the published third-order multistep formula, off by a factor of 2 in one term, is of second order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics import quadrature
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


class Quantity(ABC):
    """What is interpolated: Q = a·mean + b·noise, and the linear rest of the flow."""

    @abstractmethod
    def scales(self, level: Level) -> tuple[float, float]:
        """(a, b) of Q at a level."""

    @abstractmethod
    def carry(self, t: Level, s: Level) -> float:
        """A: how the state is carried from t to s. Raises UserError where that divides by zero."""

    @abstractmethod
    def density(self, log_ratio: np.ndarray, s: Level) -> np.ndarray:
        """The weight of Q at λ on the way to s."""

    @abstractmethod
    def total(self, t: Level, s: Level) -> float:
        """∫ density dλ from t to s in closed form: the weight of a constant Q, finite at both ends of λ."""

    def fresh(self, t: Level, s: Level) -> float:
        """The standard deviation of fresh noise: 0 in the probability flow."""
        return 0.0


@dataclass(frozen=True)
class DataQuantity(Quantity):
    """Q = E[x_0 | x]."""

    def scales(self, level: Level) -> tuple[float, float]:
        return 1.0, 0.0

    def carry(self, t: Level, s: Level) -> float:
        return s.sigma / t.sigma

    def density(self, log_ratio: np.ndarray, s: Level) -> np.ndarray:
        return s.sigma * np.exp(log_ratio)

    def total(self, t: Level, s: Level) -> float:
        return s.alpha - s.sigma * t.alpha / t.sigma


@dataclass(frozen=True)
class NoiseQuantity(Quantity):
    """Q = E[z | x]; not from α = 0, where the noise says nothing of the data."""

    def scales(self, level: Level) -> tuple[float, float]:
        return 0.0, 1.0

    def carry(self, t: Level, s: Level) -> float:
        if t.alpha == 0:
            raise UserError("integrating the noise needs α > 0 at every level; this grid starts at α = 0: use the mean")
        return s.alpha / t.alpha

    def density(self, log_ratio: np.ndarray, s: Level) -> np.ndarray:
        return -s.alpha * np.exp(-log_ratio)

    def total(self, t: Level, s: Level) -> float:
        return s.sigma - s.alpha * t.sigma / t.alpha


@dataclass(frozen=True)
class BalancedQuantity(Quantity):
    """Q = F of EDM with σ_data, bounded at both ends: in y = x/√D it is dy = −F dφ, φ = atan(ρ/σ_d)."""

    sigma_data: float = 0.5

    def scales(self, level: Level) -> tuple[float, float]:
        root = math.sqrt((level.alpha * self.sigma_data) ** 2 + level.sigma**2)
        return level.sigma / (self.sigma_data * root), -level.alpha * self.sigma_data / root

    def _root(self, level: Level) -> float:
        return math.sqrt((level.alpha * self.sigma_data) ** 2 + level.sigma**2)

    def carry(self, t: Level, s: Level) -> float:
        return self._root(s) / self._root(t)

    def density(self, log_ratio: np.ndarray, s: Level) -> np.ndarray:
        # σ_d ρ/(σ_d² + ρ²), written so that ρ = e^{−λ} never overflows
        return self._root(s) / (self.sigma_data * np.exp(log_ratio) + np.exp(-log_ratio) / self.sigma_data)

    def total(self, t: Level, s: Level) -> float:
        angle = [math.atan2(level.sigma, level.alpha * self.sigma_data) for level in (t, s)]
        return self._root(s) * (angle[0] - angle[1])


@dataclass(frozen=True)
class RenewedQuantity(Quantity):
    """Q = E[x_0 | x] in the reverse SDE: the noise is renewed as in DDPM, of variance σ_s²(1 − (α_tσ_s/(α_sσ_t))²)."""

    def scales(self, level: Level) -> tuple[float, float]:
        return 1.0, 0.0

    def carry(self, t: Level, s: Level) -> float:
        if s.ratio > t.ratio:
            raise UserError("the reverse SDE goes from noise to data; towards noise use the probability flow")
        return (s.sigma / t.sigma) ** 2 * t.alpha / s.alpha

    def density(self, log_ratio: np.ndarray, s: Level) -> np.ndarray:
        return 2 * s.alpha * np.exp(2 * (log_ratio - s.log_ratio))

    def total(self, t: Level, s: Level) -> float:
        return s.alpha * self._kappa(t, s)

    def fresh(self, t: Level, s: Level) -> float:
        return s.sigma * self._kappa(t, s) ** 0.5

    def _kappa(self, t: Level, s: Level) -> float:
        return 1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2


@dataclass(frozen=True, slots=True)
class LinearMove:
    """x_s = carry·x_t + Σ_j weights[j]·Q_j, the newest Q first."""

    level: Level
    a: float
    b: float
    carry: float
    weights: tuple[float, ...]
    fresh: float = 0.0
    evaluations: ClassVar[int] = 1

    @property
    def random(self) -> bool:
        return self.fresh > 0


def apply_linear(
    denoiser: Denoiser, x: Tensor, move: LinearMove, memory: tuple[Tensor, ...] | None, draws: Draws, keep: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Evaluate Q, move, and keep the newest `keep` values as memory."""
    newest = denoiser.estimate(x, move.level).read(move.a, move.b)
    values = (newest, *memory)[:keep] if memory else (newest,)
    moved = x * move.carry
    for weight, value in zip(move.weights, values, strict=False):
        moved.add_(value, alpha=weight)
    return (moved.add_(draws.normal_like(x), alpha=move.fresh) if move.fresh else moved), values


Weights = Callable[[Sequence[float], Quantity, Level, Level], tuple[float, ...]]
"""(λ of the known values, the newest first; quantity; t; s) -> one weight per value."""


def interpolation_weights(nodes: Sequence[float], quantity: Quantity, t: Level, s: Level) -> tuple[float, ...]:
    """∫ density(λ) ℓ_j(λ) dλ over [λ_t, λ_s] for the Lagrange polynomials of the nodes, which start with λ_t."""
    density = partial(quantity.density, s=s)
    return quadrature.interpolation_weights(nodes, density, t.log_ratio, s.log_ratio, quantity.total(t, s))


def published_weights(nodes: Sequence[float], quantity: Quantity, t: Level, s: Level) -> tuple[float, ...]:
    """As printed for DPM-Solver(++) 2M: half of ∫ density on the last difference quotient; exact at other orders."""
    if len(nodes) != 2:
        return interpolation_weights(nodes, quantity, t, s)
    total = quantity.total(t, s)
    older = -0.5 * total * (s.log_ratio - t.log_ratio) / (nodes[0] - nodes[1])
    return total - older, older


@dataclass(frozen=True)
class Multistep:
    """x_s = A x_t + Σ_j w_j Q_j (+ fresh noise) on the quantity's last k values: order k, one evaluation per step.

    The order rises from 1 at the start; `final_order` bounds that of the last step (at σ = 0 it is 1, where λ = ∞).
    """

    order: int = 2
    quantity: Quantity = DataQuantity()
    final_order: int | None = None
    weights: Weights = interpolation_weights

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 6:
            raise UserError(f"the order of a multistep solver must be 1 to 6; got {self.order}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[LinearMove]:
        last, known = len(levels) - 2, self.order
        return [
            self._move(levels[max(0, i + 1 - known) : i + 2], self.final_order if i == last else None)
            for i in range(last + 1)
        ]

    def _move(self, levels: Sequence[Level], bound: int | None) -> LinearMove:
        """To the last of these levels, Q being known at the others."""
        t, s = levels[-2], levels[-1]
        order = min(self.order, len(levels) - 1, bound or self.order)
        if not math.isfinite(s.log_ratio) or not math.isfinite(t.log_ratio):
            order = 1
        nodes = [level.log_ratio for level in reversed(levels[:-1]) if math.isfinite(level.log_ratio)][:order]
        carry = self.quantity.carry(t, s)
        weights = self.weights(nodes or [0.0], self.quantity, t, s)
        return LinearMove(t, *self.quantity.scales(t), carry, weights, self.quantity.fresh(t, s))

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: LinearMove, memory: tuple[Tensor, ...] | None, draws: Draws, /
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return apply_linear(denoiser, x, move, memory, draws, self.order)


DPMSolverPP2M = Multistep(2, weights=published_weights)
"""DPM-Solver++ 2M as printed (Lu et al. 2022): order 2 on the mean."""
DPMSolverPP3M = Multistep(3)
"""DPM-Solver++ 3M with exact weights: order 3 on the mean, where the published coefficients have order 2."""
SDEDPMSolverPP1 = Multistep(1, RenewedQuantity())
"""SDE-DPM-Solver++ of order 1, which is DDPM with fresh variance β̃."""
SDEDPMSolverPP2M = Multistep(2, RenewedQuantity(), weights=published_weights)
"""SDE-DPM-Solver++ 2M as printed: order 2 on the mean, with fresh noise."""
