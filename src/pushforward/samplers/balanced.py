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
    """

    order: int = 4
    sigma_data: float = 0.5
    offset: float = 10.0
    final_order: int = 3
    power: float = math.inf

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 6:
            raise UserError(f"the order of a multistep solver must be 1 to 6; got {self.order}")
        _check_positive("solver", sigma_data=self.sigma_data, offset=self.offset, power=self.power)

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[LinearMove]:
        return [self._move(levels[: i + 2]) for i in range(len(levels) - 1)]

    def _move(self, levels: Sequence[Level]) -> LinearMove:
        t, s = levels[-2], levels[-1]
        quantity = BalancedQuantity(self.sigma_data)
        ratios = np.array([min(float(level.ratio), _FARTHEST) for level in levels[-2::-1]])
        if s.sigma == 0:
            weights = self._weights(ratios[: self.final_order], t, s, lambda ratio: ratio)
        else:
            weights = self._weights(ratios[: self.order], t, s, self._coordinate)
        return LinearMove(t, *quantity.scales(t), quantity.carry(t, s), weights)

    def _coordinate(self, ratio: np.ndarray) -> np.ndarray:
        return shifted(ratio, self.offset, self.power)

    def _weights(self, ratios: np.ndarray, t: Level, s: Level, coordinate: Coordinate) -> tuple[float, ...]:
        """√D_s ∫ ℓ_j dφ from φ_s to φ_t by Gauss-Legendre quadrature; the first by the exact sum of all."""
        top, bottom = (math.atan2(level.sigma, level.alpha * self.sigma_data) for level in (t, s))
        angle = bottom + (top - bottom) / 2 * (_NODES + 1)
        points, nodes = coordinate(self.sigma_data * np.tan(angle)), coordinate(ratios)
        root = math.hypot(s.alpha * self.sigma_data, s.sigma)
        mass = root * (top - bottom) / 2 * _WEIGHTS
        others = []
        for j in range(1, len(nodes)):
            rest = np.delete(nodes, j)
            others.append(float(mass @ np.prod((points[:, None] - rest) / (nodes[j] - rest), axis=1)))
        return (root * (top - bottom) - math.fsum(others), *others)

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: LinearMove, memory: tuple[Tensor, ...] | None, draws: Draws, /
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return apply_linear(denoiser, x, move, memory, draws, self.order)
