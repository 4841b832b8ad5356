"""The probability flow of a denoiser as a Bijection from data to noise.

With D = α²σ_d² + σ², y = x/√D and the time τ = log(σ/(α σ_d)) the flow is, on every path,

    dy/dτ = −w(τ) F,    w(τ) = 1/(e^τ + e^{−τ}) = dφ/dτ,    φ = atan e^τ,

F the EDM quantity, of unit size at every level. Hence log |det ∂x_1/∂x_0| = d log(√D_1/√D_0) − ∫ tr(∂F/∂y) w dτ.
Steps in τ, not in σ: an adaptive solver in σ starts where everything happens in a sliver of its interval, finds the
rest flat, and stops early without a word.

The data end is σ → 0: F is odd in σ where the density is smooth, so the last stretch below the first level adds
−F φ_1/2 from one evaluation at φ_1; its relative error is (σ_1/s)⁴ for the smallest scale s of the data. The noise end
is t_max, or λ = −6 where the path ends at α = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.precondition import EDMPrediction
from pushforward.errors import UserError
from pushforward.flows.bijection import Bijection
from pushforward.flows.continuous import Continuous, Flowed, FlowSolver
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.divergence import EXACT, Divergence, Exact, mean_and_error
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level

DEFAULT = Adams(99, order=3, times=Bunched(-0.3))
"""Fixed steps, the same cost for every sample: 100 evaluations with the one that goes to clean data."""

NOISE_END = -6.0
"""λ of the last level on a path that ends with α = 0; there σ/α ≈ 400."""


class Angle:
    """The weight w(τ) = dφ/dτ = 1/(e^τ + e^{−τ})."""

    def density(self, t: Tensor) -> Tensor:
        return 0.5 / torch.cosh(t)

    def total(self, start: float, stop: float) -> float:
        return self.angle(stop) - self.angle(start)

    def angle(self, t: float) -> float:
        return math.atan(math.exp(t))


ANGLE = Angle()


class Transported(NamedTuple):
    """y (B, …) and float64 (B,): log |det|, its standard error (0 if exact, nan for one probe), and evaluations."""

    y: Tensor
    log_det: Tensor
    standard_error: Tensor
    evaluations: Tensor


@dataclass(frozen=True)
class Transport(Bijection):
    """Data ↦ noise along the probability flow of a denoiser. Made by `transport`."""

    denoiser: Denoiser
    first: Level
    last: Level
    solver: FlowSolver
    divergence: Divergence
    sigma_data: float
    to_clean: bool

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        moved = self.solve(x)
        return moved.y, moved.log_det

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        moved = self.solve(y, reverse=True)
        return moved.y, moved.log_det

    def solve(self, x: Tensor, *, reverse: bool = False) -> Transported:
        """Data to noise, or back, with the log-determinant."""
        y, log_dets, evaluations = self._run(x, self.divergence, reverse)
        log_det, error = mean_and_error(log_dets, exact=isinstance(self.divergence, Exact))
        sign = -1.0 if reverse else 1.0
        scales = x[0].numel() * math.log(self._root(self.last) / self._root(self._data_end)) if len(x) else 0.0
        return Transported(y, log_det + sign * scales, error, evaluations)

    def push(self, x: Tensor, *, reverse: bool = False) -> Tensor:
        """Data to noise, or back, without derivatives of the denoiser."""
        return self._run(x, None, reverse)[0]

    @property
    def density(self) -> str:
        """What a likelihood through this transport is the density of."""
        if self.to_clean:
            return f"the data, continued from σ/α = {self.first.ratio:.3g} to 0"
        return f"the data with noise, x_t at t = {self.first.t:.3g}, σ/α = {self.first.ratio:.3g}"

    @property
    def _data_end(self) -> Level:
        return CLEAN if self.to_clean else self.first

    def _root(self, level: Level) -> float:
        return 1 / float(EDMPrediction(self.sigma_data).input_scale(level))

    def _run(self, x: Tensor, divergence: Divergence | None, reverse: bool) -> Flowed:
        start, stop = (-float(level.log_ratio) - math.log(self.sigma_data) for level in (self.first, self.last))
        flow = Continuous(self._velocity, start, stop, self.solver, divergence or EXACT, ANGLE)
        run = flow.push if divergence is None else flow.solve
        ends = (self.last, self._data_end) if reverse else (self._data_end, self.last)
        y = x / self._root(ends[0])
        if not self.to_clean:
            return _scaled(run(y, reverse=reverse), self._root(ends[1]))
        half = ANGLE.angle(start) / 2
        if reverse:
            flowed = run(y, reverse=True)
            edge = self._edge(flowed.y, start, -half, divergence)
        else:
            edge = self._edge(y, start, half, divergence)
            flowed = run(edge.y)
            edge = edge._replace(y=flowed.y)
        log_dets, spent = flowed.log_dets + edge.log_dets, flowed.evaluations + edge.evaluations
        return _scaled(Flowed(edge.y, log_dets, spent), self._root(ends[1]))

    def _edge(self, y: Tensor, start: float, step: float, divergence: Divergence | None) -> Flowed:
        """The stretch between σ = 0 and the first level, where F is proportional to φ."""
        spent = torch.ones(len(y), dtype=torch.int64, device=y.device)
        if divergence is None:
            with torch.no_grad():
                return Flowed(y + step * self._velocity(start, y, None), y.new_zeros(len(y), 0).double(), spent)
        value, columns = divergence.of(y)(lambda y: self._velocity(start, y, None), y, None)
        return Flowed(y + step * value, step * columns, spent)

    def _velocity(self, t: Scalar, y: Tensor, rows: Tensor | None) -> Tensor:
        """−F at τ: (b, …)."""
        level = _level_at(self.denoiser.path, t + math.log(self.sigma_data))
        prediction = EDMPrediction(self.sigma_data)
        denoiser = self.denoiser if rows is None else self.denoiser.rows(rows)
        x = y / expand(prediction.input_scale(level), y)
        a, b = prediction.target_scales(level)
        return denoiser.estimate(x, level).read(-a, -b)


def _scaled(flowed: Flowed, root: float) -> Flowed:
    return flowed._replace(y=flowed.y * root)


def _level_at(path: GaussianPath, log_noise: Scalar) -> Level:
    if isinstance(log_noise, Tensor):
        return path.level(path.time(-log_noise))
    return path.level(float(path.time(torch.tensor(-log_noise, dtype=torch.float64))))


def transport(
    denoiser: Denoiser,
    solver: FlowSolver = DEFAULT,
    *,
    divergence: Divergence = EXACT,
    sigma_data: float = 0.5,
    start: float | None = None,
    to_clean: bool = True,
) -> Transport:
    """The probability flow of a denoiser from data to noise.

    `solver`: `Adams(n, 3, Bunched(-0.3))` spends n evaluations on every sample, `AdaptiveFlow` as many as each needs.
    `sigma_data`, the data's standard deviation, only helps the accuracy. `start` is the first time (t_min unless
    given). With `to_clean` the data end is σ → 0, one evaluation more; without, it is the noisy data at `start`.
    Raises UserError for a start outside the path.
    """
    path = denoiser.path
    first = path.level(path.t_min if start is None else start)
    last = path.level(path.t_max)
    if float(last.log_ratio) < NOISE_END:
        last = _level_at(path, -NOISE_END)
    if not (path.t_min <= float(first.t) < float(last.t) and float(first.sigma) > 0):
        raise UserError(
            f"a transport starts on its path, between t = {path.t_min:g} and {last.t:g}, where there is noise; a start "
            f"of t = {first.t:g} was given"
        )
    if not (math.isfinite(sigma_data) and sigma_data > 0):
        raise UserError(f"sigma_data must be a positive number; got {sigma_data}")
    return Transport(denoiser, first, last, solver, divergence, sigma_data, to_clean)
