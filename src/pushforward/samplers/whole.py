"""Samplers that decide themselves how often they call the network: of a budget they take no notice."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.transport import transport
from pushforward.flows.continuous import AdaptiveFlow
from pushforward.numerics.ode import Adaptive, Rms
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN
from pushforward.samplers.adaptive import AdaptiveDPMSolver
from pushforward.samplers.default import deviation
from pushforward.samplers.step import Observer, Progress, simulate

_PUBLISHED = AdaptiveDPMSolver()


@dataclass(frozen=True)
class AdaptiveSampler:
    """An adaptive DPM-Solver over the whole path in one go, then E[x_0 | x] at t_min."""

    step: AdaptiveDPMSolver = _PUBLISHED

    def sample(
        self, denoiser: Denoiser, x: Tensor, evaluations: int, draws: Draws, observe: Observer | None = None
    ) -> Tensor:
        """Move x: (B, …) at t_max to the data, each sample with its own steps."""
        levels = (*denoiser.path.levels([denoiser.path.t_max, denoiser.path.t_min]), CLEAN)
        return simulate(denoiser, self.step, x, levels, draws, observe=observe)


@dataclass(frozen=True)
class FlowSampler:
    """The probability flow by adaptive Runge-Kutta in log σ: as exact as `tolerance`, with each sample's own steps."""

    tolerance: float = 1e-4

    def sample(
        self, denoiser: Denoiser, x: Tensor, evaluations: int, draws: Draws, observe: Observer | None = None
    ) -> Tensor:
        """Move x: (B, …) at t_max to the data, σ → 0."""
        solver = AdaptiveFlow(Adaptive(Rms(self.tolerance, self.tolerance)))
        moved = transport(denoiser, solver, sigma_data=deviation(denoiser)).push(x, reverse=True)
        if observe:
            observe(Progress(1, 1, CLEAN, moved, None))
        return moved
