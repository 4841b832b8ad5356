"""The exponential Adams–Bashforth solver of the default sampler: F of EDM, interpolated in a coordinate finite at ∞.

In y = x/√(α²σ_d² + σ²) and φ = atan(ρ/σ_d), ρ = σ/α, the probability flow is dy/dφ = −F. F is smooth in 1/ρ where ρ is
far above the data's scale, and below it in log ρ or in a power of ρ. So is the coordinate u = (1 + c/ρ)^{−1/q}, which
goes from 0 to 1 and tends to −log(1 + c/ρ), but for a shift and a factor, as q grows. It is also finite at α = 0, so
that the grid and the interpolation start there on the straight path as on any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level
from pushforward.paths.grids import check_steps
from pushforward.samplers.multistep import BalancedQuantity, LinearMove, apply_linear

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
Coordinate = Callable[[np.ndarray], np.ndarray]
"""ρ -> the variable in which F is interpolated."""
_FARTHEST = 1e12
"""ρ is never read as more than this: at α = 0, u is 0 to the last bit."""


def shifted(ratio: np.ndarray, offset: float, power: float) -> np.ndarray:
    """u = (1 + c/ρ)^{−1/q}, or −log(1 + c/ρ) where the power q is ∞."""
    log = -np.log1p(offset / ratio)
    return log if math.isinf(power) else np.exp(log / power)


def _check_positive(of: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"the {name} of the {of} must be positive; got {value}")


@dataclass(frozen=True)
class ShiftedLogGrid:
    """n levels uniform in u from t_max to ρ = max(`end`, that of t_min), then clean data: n steps.

    u = −log(1 + (c/ρ)^p)/p, or (1 + (c/ρ)^p)^{−1/(pq)} with a finite `power` q: like ρ^{1/q} (Karras et al. 2022) where
    ρ is far below c, so that the steps are shorter where modes part than where each of them is resolved; far above c
    like −ρ^{−p}, where an `onset` p below 1 makes the first steps short, which have few values to interpolate.
    """

    offset: float
    end: float = 0.0
    power: float = math.inf
    onset: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("grid", offset=self.offset, power=self.power, onset=self.onset)

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        n = check_steps(steps)
        first, last = path.level(path.t_max), path.level(path.t_min)
        end = max(float(last.ratio), min(self.end, float(first.ratio) / 2))
        powers = (np.array([min(float(first.ratio), _FARTHEST), end]) / self.offset) ** self.onset
        power = self.power * self.onset
        ends = shifted(powers, 1.0, power).tolist()
        inside = torch.linspace(ends[0], ends[1], max(n, 2), dtype=torch.float64)[1:]
        exponents = -inside if math.isinf(power) else -power * torch.log(inside)  # log(1 + (c/ρ)^p)
        times = path.time(torch.log(torch.expm1(exponents)) / self.onset - math.log(self.offset))
        return (first, *path.levels(times)[: n - 1], CLEAN)


@dataclass(frozen=True)
class BalancedMultistep:
    """y_s = y_t + Σ_j w_j F_j, w_j = ∫ ℓ_j(u(φ)) dφ with the Lagrange polynomials of the last k values of F in u.

    u is that of `offset` and `power`, as in `ShiftedLogGrid`.

    Order k, one evaluation per step. The step into clean data interpolates in ρ, through the last `final_order` values:
    exact both for data of no width there (F constant) and for data wider than the noise (F ∝ ρ), while of the usual
    endings E[x_0 | x] is exact in the first case alone and the half-denoised value in the second.

    With `revisions` r each interval is integrated again, r times, as the next values come: through the last
    `revision_order` of them, which then lie on both sides of it. That is to predict, evaluate and correct (PEC, with
    memory), costs no evaluation and is a change of weights alone, w_j of the newest step being joined by what the
    earlier intervals differ by. The error left is that of values taken at predicted states: the order is k + 1.
    """

    order: int = 4
    sigma_data: float = 0.5
    offset: float = 10.0
    final_order: int = 3
    power: float = math.inf
    revisions: int = 0
    revision_order: int = 6

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 6:
            raise UserError(f"the order of a multistep solver must be 1 to 6; got {self.order}")
        if not 0 <= self.revisions < self.revision_order <= 9:
            raise UserError(
                "an interval is revised less often than the order of its revisions, which is at most 9; got "
                f"{self.revisions} revisions of order {self.revision_order}"
            )
        _check_positive("solver", sigma_data=self.sigma_data, offset=self.offset, power=self.power)

    @property
    def kept(self) -> int:
        """How many values of F are remembered."""
        revised = max(self.order, self.revision_order) + 1 if self.revisions else 1
        return max(self.order, self.final_order, revised)

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[LinearMove]:
        quantity = BalancedQuantity(self.sigma_data)
        moves = []
        for i, weights in enumerate(self._weights(levels)):
            t, s = levels[i], levels[i + 1]
            scaled = math.hypot(s.alpha * self.sigma_data, s.sigma) * weights[: i + 1]
            moves.append(LinearMove(t, *quantity.scales(t), quantity.carry(t, s), tuple(scaled.tolist())))
        return moves

    def _weights(self, levels: Sequence[Level]) -> np.ndarray:
        """(steps, kept): the weights of F in each step, from the newest value to the oldest one remembered."""
        ratios = np.array([min(float(level.ratio), _FARTHEST) for level in levels])
        angles = np.array([math.atan2(level.sigma, level.alpha * self.sigma_data) for level in levels])
        steps = len(levels) - 1
        weights = np.zeros((steps, self.kept))
        for age in range(min(self.revisions + 1, steps)):
            order = self.revision_order if age else self.order
            found = self._integrals(ratios, angles, np.arange(age, steps), age, order, self._coordinate)
            if not age and ratios[-1] == 0:
                last = self._integrals(ratios, angles, np.array([steps - 1]), 0, self.final_order, _itself)
                found = np.pad(found, ((0, 0), (0, max(0, self.final_order - order))))
                found[-1], found[-1, : self.final_order] = 0.0, last[0]
            weights[age:, : found.shape[1]] += found
            if age < self.revisions:  # the step after this one takes it back and puts a better value in its place
                weights[age + 1 :, 1 : order + 1] -= found[:-1, :order]
        return weights

    def _integrals(
        self, ratios: np.ndarray, angles: np.ndarray, newest: np.ndarray, age: int, order: int, coordinate: Coordinate
    ) -> np.ndarray:
        """∫ F dφ over the intervals `age` steps before the newest values: (len(newest), order), the newest first."""
        back = newest[:, None] - np.arange(order)
        return _lagrange_integrals(
            coordinate(ratios[np.maximum(back, 0)]),
            back >= 0,
            angles[newest - age],
            angles[newest - age + 1],
            lambda angle: coordinate(self.sigma_data * np.tan(angle)),
        )

    def _coordinate(self, ratio: np.ndarray) -> np.ndarray:
        return shifted(ratio, self.offset, self.power)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: LinearMove, memory: tuple[Tensor, ...] | None, draws: Draws, /
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return apply_linear(denoiser, x, move, memory, draws, self.kept)


def _itself(ratio: np.ndarray) -> np.ndarray:
    return ratio


def _lagrange_integrals(
    nodes: np.ndarray, known: np.ndarray, top: np.ndarray, bottom: np.ndarray, coordinate: Coordinate
) -> np.ndarray:
    """∫ ℓ_j dφ from `bottom` to `top`: (intervals, k), through the known of `nodes`: (intervals, k), 0 for the others.

    By Gauss-Legendre quadrature; the first, of a node that is always known, by the exact sum of all.
    """
    half = ((top - bottom) / 2)[:, None]
    points = coordinate(bottom[:, None] + half * (_NODES + 1))  # never a node: nodes end intervals
    away = np.where(known[:, None, :], points[:, :, None] - nodes[:, None, :], 1.0)  # (intervals, points, k)
    pairs = known[:, :, None] & known[:, None, :] & ~np.eye(nodes.shape[1], dtype=bool)
    between = np.where(pairs, nodes[:, :, None] - nodes[:, None, :], 1.0).prod(2)
    basis = away.prod(2, keepdims=True) / away
    found = np.where(known, half * np.einsum("p,ipk->ik", _WEIGHTS, basis) / between, 0.0)
    found[:, 0] = top - bottom - found[:, 1:].sum(1)
    return found
