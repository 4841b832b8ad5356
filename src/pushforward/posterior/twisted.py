"""Twisted sequential Monte Carlo: guided samples, weighted by what the guidance got wrong (Wu et al. 2023).

The steps of the reverse SDE from t to s propose x_s by the guided mean; the weights

    p(x_s | x_t) p̃(y | x_s) / (p̃(y | x_t) p̃(x_s | x_t, y))

with the twist p̃(y | x_t) = N(y; A m, r_t² A A* + σ²) of pseudo-inverse guidance, and p(y | x_0) itself at the end, make
the crowd one of p(x | y) as its size grows, however crude the guidance; how slowly is told by its weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.rules.gains import linear_gain
from pushforward.inverse.rules.tangent import Tangent
from pushforward.inverse.rules.variance import VarianceLaw, law_of
from pushforward.inverse.solve import dots, squares
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.paths.grids import Grid, Karras
from pushforward.posterior.diagnostics import weight_size
from pushforward.posterior.resampling import systematic
from pushforward.posterior.splitting import split_likelihood
from pushforward.samplers.step import Observer, Progress

_GRID = Karras()


@dataclass(frozen=True, eq=False)
class Twists:
    """Samples (S, B, …), log-weights (S, B), and the least that weights were worth on the way, (B,)."""

    samples: Tensor
    log_weights: Tensor
    lowest: Tensor
    log_evidence: Tensor | None = None


@dataclass(frozen=True)
class Twisted:
    """One evaluation and its gradient per step; drawn anew where weights are worth less than `threshold` of the crowd.

    For Gaussian noise on linear operators; raises UserError for others, and for crowds of fewer than two.
    """

    grid: Grid = _GRID
    threshold: float = 0.5
    variance: VarianceLaw | None = None

    def crowd(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Twists:
        samples, items = x.shape[:2]
        if samples < 2 or evaluations < 2:
            raise UserError(f"twisted SMC needs two samples and evaluations at least; got {samples}, {evaluations}")
        gaussian = split_likelihood(likelihood)
        law = law_of(denoiser, self.variance)
        levels = self.grid(denoiser.path, evaluations)
        state, weights = x.flatten(0, 1), torch.zeros(samples, items, dtype=torch.float64, device=x.device)
        at = _Twist.of(denoiser, gaussian, state, levels[0], law)
        weights, lowest = weights + at.value.unflatten(0, (samples, items)), weight_size(weights)
        for i, level in enumerate(levels[1:]):
            draw = draws.at("step", i)
            state, change = at.step(level, draw)
            if level.sigma == 0:
                weights = weights + (change + gaussian.log_prob(state).double()).unflatten(0, (samples, items))
                break
            new = _Twist.of(denoiser, gaussian, state, level, law)
            weights = weights + (change + new.value).unflatten(0, (samples, items))
            lowest = torch.minimum(lowest, weight_size(weights))
            drawn = systematic(weights, draw.at("resample")[:items], self.threshold)
            rows = (drawn.chosen * items + torch.arange(items, device=x.device)).flatten()
            state, weights, at = state[rows], drawn.log_weights, new.rows(rows)
            if observe:
                observe(Progress(i + 1, evaluations, level, state, None))
        return Twists(state.unflatten(0, (samples, items)), weights.log_softmax(0), lowest)


@dataclass(frozen=True, eq=False)
class _Twist:
    """A state with the prior's mean, the guided mean and log p̃(y | x_t) (B,), all of one evaluation."""

    x: Tensor
    level: Level
    mean: Tensor
    pull: Tensor
    value: Tensor

    @staticmethod
    def of(denoiser: Denoiser, gaussian: Gaussian, x: Tensor, level: Level, law: VarianceLaw) -> _Twist:
        with torch.inference_mode(False), torch.no_grad():
            tangent = Tangent(denoiser, x, level, law)
            gain = linear_gain(gaussian, tangent.mean, tangent.variance)
            pull = tangent.covariance(gain, last=True)
            residual = gaussian.residual(tangent.mean)
            solved = gaussian.linear.solve(residual, tangent.variance, gaussian.sigma**2)
        # The determinant is the same for all samples of an item, and goes with the normalisation.
        return _Twist(x, level, tangent.mean, pull, -0.5 * dots(residual, solved).double())

    def step(self, s: Level, draws: Draws) -> tuple[Tensor, Tensor]:
        """x_s of the guided step, and log p(x_s | x_t) − log p̃(x_s | x_t, y) − log p̃(y | x_t): (B, …), (B,)."""
        t = self.level
        kappa = 1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2
        carried = (s.sigma / t.sigma) ** 2 * t.alpha / s.alpha * self.x + s.alpha * kappa * self.mean
        if s.sigma == 0:
            # The last step draws nothing, so that it cannot be guided: what it gives is weighed by y itself.
            return carried, -self.value
        spread = s.sigma * kappa**0.5
        noise = draws.normal_like(self.x)
        shift = s.alpha * kappa * self.pull
        ratio = 0.5 * squares(noise).double() - 0.5 * squares(noise + shift / spread).double()
        return carried + shift + spread * noise, ratio - self.value

    def rows(self, index: Tensor) -> _Twist:
        return _Twist(self.x[index], self.level, self.mean[index], self.pull[index], self.value[index])
