"""The exact sampler: chains of noise splitting (or of its tested form) that end as draws of p(x | y) itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.method import Guidance, Method
from pushforward.inverse.rules.gains import is_linear
from pushforward.inverse.rules.pigdm import PiGDM
from pushforward.inverse.usual import usual_method
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN
from pushforward.posterior.bridge import Bridge
from pushforward.posterior.chains import Chains, Watched, rescaled
from pushforward.posterior.metropolis import MetropolisBridge
from pushforward.posterior.noise_level import UnknownNoise, with_noise
from pushforward.posterior.reverse import Reverse
from pushforward.posterior.splitting import Splitting
from pushforward.samplers.default import deviation
from pushforward.samplers.step import Observer, Progress

_WANTED = 0.6
"""The acceptance that moves with a test are scaled for."""


@dataclass(frozen=True)
class SplitGibbs:
    """A start near the posterior, a descent in heat, then sweeps at the likelihood itself: one draw of p(x | y) a row.

    Of the evaluations, `start` go to `warm` (None: the prior's noise, from the bridge's hot end), of the rest a share
    `cooling` to the descent; each sweep takes `inner`. The invariant law is exactly p(x | y), up to the error of the
    reverse SDE in `inner` steps; what may be missing is mixing between modes far apart, which the chains' own
    diagnostics show: compare `Tempering`. Noise that is unknown is drawn with x (`noise`), from the likelihood's σ on.

    Gaussian noise on linear operators is split exactly; every other likelihood takes the tested move, whose scale is
    fitted in the descent and fixed afterwards. `rho` fixes the level of the split by hand, in the data's unit, for all
    items. Raises UserError for σ = 0, for ρ‖A‖ > σ of any item, and for budgets of fewer than three sweeps.
    """

    inner: int = 10
    warm: Method | None = None
    start: int = 50
    cooling: float = 0.3
    noise: UnknownNoise | None = None
    rho: float | None = None

    def __post_init__(self) -> None:
        if self.inner < 2 or self.start < 1 or not 0 <= self.cooling < 1:
            raise UserError(
                "a chain needs at least two evaluations in a sweep, one for its start, and a share of cooling from 0 "
                f"to 1; got {self.inner}, {self.start} and {self.cooling}"
            )
        if self.noise is not None and self.rho is not None:
            raise UserError(
                f"noise of unknown level is split as each level that is drawn allows, and rho = {self.rho:g} fixes it: "
                "leave rho out"
            )

    def restore(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Tensor:
        return self.chains(denoiser, likelihood, x, evaluations, draws, observe).x

    def chains(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Chains:
        """As `restore`, with what was watched of every sweep after the descent."""
        sweeps = (evaluations - self.start) // self.inner
        if sweeps < 3:
            raise UserError(
                f"an exact sampler with sweeps of {self.inner} evaluations needs at least {self.start + 3 * self.inner}"
                f" evaluations; got {evaluations}"
            )
        bridge = self.bridge(likelihood, x)
        warm = self.warm or usual_warm(likelihood)
        x = warm.restore(denoiser, likelihood, x, self.start, draws.at("warm"))
        run = _Run(self, Reverse(denoiser, self.inner), likelihood, bridge, draws, observe, sweeps)
        return run(x, int(self.cooling * sweeps))

    def moved(self, denoiser: Denoiser, likelihood: Likelihood, x: Tensor, sweeps: int, draws: Draws) -> Chains:
        """Sweeps from states x (B, …) that are draws already, without start or descent: what must change nothing."""
        bridge = self.bridge(likelihood, x)
        return _Run(self, Reverse(denoiser, self.inner), likelihood, bridge, draws, None, sweeps)(x, 0)

    def bridge(self, likelihood: Likelihood, x: Tensor) -> Bridge:
        """The bridge of a likelihood for chains like x (B, …)."""
        if not is_linear(likelihood):
            return MetropolisBridge(likelihood, x)
        split = Splitting(likelihood, tuple(x.shape[1:]))
        if self.rho is None:
            return split
        least = float((split.sigma / split.norm).min())
        if not 0 < self.rho <= least * (1 + 1e-9):
            raise UserError(
                f"noise is split at ρ‖A‖ ≤ sigma: ρ = {self.rho:g} was given, and ‖A‖ = {float(split.norm.max()):.4g} "
                f"with sigma = {float(split.sigma.min()):g} allows {least:.4g} at most"
            )
        fixed = Splitting(likelihood, tuple(x.shape[1:]), min(self.rho / least, 1.0))
        fixed.last = torch.full_like(fixed.last, min(self.rho, least))
        return fixed


def usual_warm(likelihood: Likelihood) -> Method:
    """Pseudo-inverse guidance where there is one: the network's derivative is not taken for a covariance."""
    return Guidance(PiGDM()) if is_linear(likelihood) else usual_method(likelihood)


@dataclass(eq=False)
class _Run:
    """The loop of sweeps over one batch."""

    rule: SplitGibbs
    reverse: Reverse
    likelihood: Likelihood
    bridge: Bridge
    draws: Draws
    observe: Observer | None
    sweeps: int

    def __call__(self, x: Tensor, cooling: int) -> Chains:
        watch = Watched.of(x)
        scale, accepted = self._scale(x), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        fitted = max(cooling, 1) if self.bridge.adapts else 0
        sigma: Tensor | None = None
        law = self._law()
        for i in range(self.sweeps):
            heat = self._heat(x, i, cooling)
            moved = self.bridge.move(self.reverse, x, heat, scale, self.draws.at("sweep", i))
            x = moved.x
            if i < fitted:
                scale = rescaled(scale, moved.accepted, _WANTED, i).clamp(self.reverse.least, self.reverse.widest)
            else:
                accepted = accepted + moved.accepted / (self.sweeps - fitted)
            if law is not None and i >= cooling:
                sigma = law.draw(self.likelihood, x, self.draws.at("sigma", i))
                self._renew(sigma, x)
            if i >= cooling:
                watch.look(x, self.likelihood, sigma)
            if self.observe:
                self.observe(Progress(i + 1, self.sweeps, CLEAN, x, None))
        return Chains(x, watch.trace(), accepted if self.bridge.adapts else None, sigma)

    def _law(self) -> UnknownNoise | None:
        """The law of an unknown σ, cut where noise could no longer be split at a level that the prior knows."""
        if self.rule.noise is None or not isinstance(self.bridge, Splitting):
            return self.rule.noise
        least = self.reverse.least * self.bridge.sigma / self.bridge.last
        return self.rule.noise.above(float(least.max()))

    def _scale(self, x: Tensor) -> Tensor:
        """Where the scale of tested moves starts: a tenth of the data's deviation."""
        scale = torch.full(x.shape[:1], 0.1 * deviation(self.reverse.denoiser), dtype=torch.float64, device=x.device)
        return scale.clamp(self.reverse.least, self.reverse.widest)

    def _heat(self, x: Tensor, i: int, cooling: int) -> Tensor:
        """Geometric from the first to the last, in `cooling` moves."""
        last = self.bridge.last
        if i >= cooling:
            return last
        first = self.bridge.first(deviation(self.reverse.denoiser))
        return last * (first / last) ** (1 - i / cooling)

    def _renew(self, sigma: Tensor, x: Tensor) -> None:
        """The likelihood and its bridge at another noise level."""
        self.likelihood = with_noise(self.likelihood, sigma)
        self.bridge = self.rule.bridge(self.likelihood, x)
