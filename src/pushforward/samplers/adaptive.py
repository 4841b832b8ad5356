"""DPM-Solver-12 and -23: single-step solvers whose step follows the error of each sample (Lu et al. 2022, appendix C).

Every sample has its own λ and step, so a result does not depend on the batch around it. A trial step is taken by two
solvers of neighbouring orders that share their evaluations; it is accepted where their difference, relative to
max(atol, rtol·max|x|), has root mean square E ≤ 1, and the next step is θ E^{−1/order} times as long, but at most
`growth` times: in few dimensions the estimate of one sample can vanish by chance, which a maximum over the batch hid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import NumericalError, UserError
from pushforward.numerics.broadcast import expand, mean_per_sample
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True, slots=True)
class Form:
    """The exponential integrator on the noise or on the mean, in per-sample scalars.

    x_s = (u_s/u_t) x − v_s (e^{ch} − 1) Q: on the noise (u, v, c) = (α, σ, 1), on the mean (σ, α, −1).
    """

    on_mean: bool

    def carry(self, t: Level, s: Level) -> Tensor:
        return torch.as_tensor(s.sigma / t.sigma if self.on_mean else s.alpha / t.alpha)

    def weights(self, s: Level, h: Tensor) -> tuple[Tensor, Tensor]:
        """Those of Q and of its change over the step: ∫ density and ∫ density·(λ − λ_t)/h."""
        signed = -h if self.on_mean else h
        v = torch.as_tensor(s.alpha if self.on_mean else s.sigma)
        grown = torch.expm1(signed)
        slope = torch.where(h > 0, grown / torch.where(h > 0, signed, 1.0) - 1, 0.0)
        return -v * grown, -v * slope


ON_NOISE = Form(False)
"""DPM-Solver: Q is the noise."""
ON_MEAN = Form(True)
"""DPM-Solver++: Q is the mean."""


@dataclass(frozen=True, slots=True)
class WholeMove:
    level: Level
    next: Level
    path: GaussianPath
    random: ClassVar[bool] = False
    evaluations: ClassVar[None] = None  # known only after it ran


@dataclass(frozen=True)
class AdaptiveDPMSolver:
    """Each interval of the grid by DPM-Solver-12 (`order` 2) or -23 (3) with its own steps; best on a grid of one step.

    The memory holds what was spent, evaluations per sample, int64 (B,): `sample_adaptively` returns it. A step into
    clean data is a single one of first order. A trial asks the device one question, whether to go on: how many there
    will be is known to the samples alone. Defaults as published: first step 0.05 in λ, atol 0.0078 (images in
    [−1, 1] to half a grey value), rtol 0.05, θ = 0.9. Needs α > 0. Raises NumericalError after `limit` trials.
    """

    order: int = 3
    form: Form = ON_NOISE
    atol: float = 0.0078
    rtol: float = 0.05
    first_step: float = 0.05
    safety: float = 0.9
    growth: float = 2.0
    limit: int = 10_000

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise UserError(f"the adaptive DPM-Solver has order 2 or 3; got {self.order}")

    def plan(self, path: GaussianPath, levels: Sequence[Level], /) -> list[WholeMove]:
        if levels[0].alpha == 0:
            raise UserError("the adaptive solver needs α > 0; this grid starts at α = 0: use a fixed step")
        if levels[-1].ratio > levels[0].ratio:
            raise UserError("the adaptive DPM-Solver goes from noise to data; encode with a fixed step, such as DDIM")
        return [WholeMove(t, s, path) for t, s in itertools.pairwise(levels)]

    def __call__(
        self, denoiser: Denoiser, x: Tensor, move: WholeMove, memory: Tensor | None, draws: Draws, /
    ) -> tuple[Tensor, Tensor]:
        spent = torch.zeros(len(x), dtype=torch.int64, device=x.device) if memory is None else memory
        if move.next.sigma == 0:
            return denoiser.estimate(x, move.level).mean, spent + 1
        start, end = float(move.level.log_ratio), float(move.next.log_ratio)
        at = torch.full((len(x),), start, dtype=torch.float64, device=x.device)
        step = torch.full_like(at, min(self.first_step, end - start))
        previous = x
        for _ in range(self.limit):
            active = at < end
            low, high = self._trial(denoiser, x, move.path, at, step)
            error = self._error(low, high, previous)
            accept = active & (error <= 1)
            keep = torch.as_tensor(expand(accept, x)).bool()
            x, previous = torch.where(keep, high, x), torch.where(keep, low, previous)
            spent = spent + self.order * active
            at = torch.where(accept, torch.where(at + step >= end - 1e-12, end, at + step), at)
            grown = step * (self.safety * error.clamp(min=1e-10) ** (-1 / self.order)).clamp(max=self.growth)
            step = torch.minimum(torch.where(active, grown, step), end - at)
            # both questions in one number: every number read from an accelerator waits for all that it has to do
            left = int(torch.where(torch.isfinite(error).all(), (at < end).sum(), -1))
            if left < 0:
                raise NumericalError("the denoiser returned numbers that are not finite; the adaptive solver stopped")
            if left == 0:
                return x, spent
        raise NumericalError(f"the adaptive solver did not finish in {self.limit} trials; loosen atol or rtol")

    def _error(self, low: Tensor, high: Tensor, previous: Tensor) -> Tensor:
        size = torch.maximum(low.abs(), previous.abs())
        scaled = (high - low) / torch.clamp(self.rtol * size, min=self.atol)
        return mean_per_sample(scaled**2).sqrt().double()

    def _trial(self, denoiser: Denoiser, x: Tensor, path: GaussianPath, at: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """One step by both orders: (lower, higher), (B, …)."""

        def value(state: Tensor, level: Level) -> Tensor:
            estimate = denoiser.estimate(state, level)
            return estimate.mean if self.form.on_mean else estimate.noise

        def level(r: float) -> Level:
            return path.level(path.time(at + r * h))

        def move(s: Level, r: float, *terms: tuple[float, Tensor]) -> Tensor:
            """To s = t + r h with Q_t and the change of Q over the whole of r h."""
            weight, slope = self.form.weights(s, r * h)
            moved = expand(self.form.carry(t, s), x) * x + expand(weight, x) * first
            for factor, change in terms:
                moved = moved + expand(factor * slope, x) * change
            return moved

        t, end = level(0.0), level(1.0)
        first = value(x, t)
        if self.order == 2:
            middle = level(0.5)
            change = value(move(middle, 0.5), middle) - first
            weight, _ = self.form.weights(end, h)
            low = move(end, 1.0)
            return low, low + expand(weight, x) * change
        one, two = level(1 / 3), level(2 / 3)
        early = value(move(one, 1 / 3), one) - first
        late = value(move(two, 2 / 3, (2.0, early)), two) - first
        weight, _ = self.form.weights(end, h)
        return move(end, 1.0) + expand(1.5 * weight, x) * early, move(end, 1.0, (1.5, late))


@dataclass(frozen=True)
class Adapted:
    """A sample and what it cost: evaluations of each sample alone (B,), and of the batch."""

    x: Tensor
    evaluations: Tensor

    @property
    def largest(self) -> int:
        return int(self.evaluations.max())


def sample_adaptively(
    denoiser: Denoiser, step: AdaptiveDPMSolver, x: Tensor, start: Level, end: Level, *, denoise: bool = False
) -> Adapted:
    """Solve from `start` to `end` with each sample's own steps, then E[x_0 | x] if asked for one more evaluation."""
    if not math.isfinite(end.log_ratio):
        raise UserError("an adaptive run ends at σ > 0, e.g. the path's t_min; denoise=True goes on to the data")
    (move,) = step.plan(denoiser.path, (start, end))
    draws = Draws.of(0, range(len(x)), "adaptive", x.device)
    x, spent = step(denoiser, x, move, None, draws)
    return Adapted(denoiser.estimate(x, end).mean, spent + 1) if denoise else Adapted(x, spent)
