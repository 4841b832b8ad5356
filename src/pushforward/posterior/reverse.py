"""Draws of p(x_0 | x_t): the reverse SDE from each item's own level of noise down to the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.samplers.default import deviation

_END = 20.0
"""The last level is at 1/20 of ρ, or of the data's deviation if that is less: what is left undrawn is 1/400 of it."""
_FARTHEST = 200.0
"""Deviations of the data: noise beyond which z says nothing of x."""
_RAMP = 7.0
"""Levels are uniform in ρ^{1/7} (Karras et al. 2022)."""


@dataclass(frozen=True, eq=False)
class Reverse:
    """x_0 ~ p(x_0 | x_0 + ρ ε = z) by a solver of the reverse SDE of second order, `steps` evaluations.

    With D the mean at ratio r = σ/α, κ = 1 − (s/r)² and h = log(r/s), one step from r to s is

        u_s = (1 − κ) u_r + κ D_r + (h − κ/2)(D_r − D_before)/h_before + s √κ ξ,

    exact for D linear in log r. The first and the last step, to clean data, are of first order. The level may be one
    number, or one per item (B,), so that items of different noise move together. A solver of first order loses a tenth
    of the variance at the same cost; what this one leaves invariant is what makes a chain of such draws exact.
    """

    denoiser: Denoiser
    steps: int = 10

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise UserError(f"a draw from the reverse SDE takes at least two evaluations; got {self.steps}")

    @property
    def least(self) -> float:
        """The smallest ρ that can be drawn from: twice the ratio σ/α at which the path ends."""
        path = self.denoiser.path
        return 2 * float(path.level(path.t_min).ratio)

    @property
    def most(self) -> float:
        """The largest ρ: σ/α where the path starts, a large multiple of the data's deviation where α = 0 there."""
        path = self.denoiser.path
        ratio = float(path.level(path.t_max).ratio)
        return ratio if math.isfinite(ratio) else _FARTHEST * deviation(self.denoiser)

    @property
    def widest(self) -> float:
        """The data's deviation, beyond which z says little of x and the steps are no longer small: for tested moves."""
        return max(min(deviation(self.denoiser), self.most), self.least)

    def __call__(self, z: Tensor, rho: Scalar, draws: Draws) -> Tensor:
        """One draw for each row of z (B, …), which has noise of deviation `rho`, () or (B,), in the data's unit."""
        ratios = self._ratios(rho)
        levels = self._levels(ratios)
        u, before, gap_before = z, z, torch.ones(())
        for i, level in enumerate(levels):
            mean = self.denoiser.estimate(expand(level.alpha, u) * u, level).mean
            if i + 1 == len(levels):
                break
            now, then = ratios[i], ratios[i + 1]
            kappa, gap = 1 - (then / now) ** 2, torch.log(now / then)
            moved = expand(1 - kappa, u) * u + expand(kappa, u) * mean
            if i:
                moved = moved + expand((gap - kappa / 2) / gap_before, u) * (mean - before)
            u = moved + expand(then * kappa.sqrt(), u) * draws.at(i).normal_like(u)
            before, gap_before = mean, gap
        return mean

    def require(self, rho: Scalar) -> None:
        """Raises UserError for noise of a deviation, () or (B,), that the prior does not know."""
        start = torch.as_tensor(rho, dtype=torch.float64)
        if not bool(((start >= self.least * (1 - 1e-9)) & (start <= self.most * (1 + 1e-9))).all()):
            raise UserError(
                f"this prior knows noise of deviation {self.least / 2:.3g} to {self.most:.3g}, and draws at "
                f"{float(start.min()):.3g} were asked for: the measurement's noise is too small for it, or the "
                "operator's units are not the prior's"
            )

    def _ratios(self, rho: Scalar) -> Tensor:
        """(steps,) or (steps, B), float64, from ρ down."""
        self.require(rho)
        start = torch.as_tensor(rho, dtype=torch.float64)
        if start.ndim and bool((start == start[0]).all()):
            start = start[0]
        end = torch.clamp(start, max=deviation(self.denoiser)) / _END
        end = torch.clamp(end, min=self.least / 2)
        share = torch.linspace(0, 1, self.steps, dtype=torch.float64, device=start.device).reshape(
            -1, *[1] * start.ndim
        )
        first, last = start.log() / _RAMP, end.log() / _RAMP
        return ((1 - share) * first.exp() + share * last.exp()) ** _RAMP

    def _levels(self, ratios: Tensor) -> tuple[Level, ...]:
        path = self.denoiser.path
        times = path.time(-torch.log(ratios))
        if times.ndim == 1:
            return path.levels(times)
        return tuple(path.level(t) for t in times)
