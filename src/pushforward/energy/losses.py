"""Score matching as objects that an energy model is given: (log-density, x, draws) -> loss of each item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.objectives.score_matching import (
    LogDensity,
    Probe,
    denoising_score_loss,
    explicit_loss,
    finite_difference_loss,
    rademacher_probe,
    score_of,
    sliced_loss,
    sliced_loss_reduced,
    sphere_probe,
)


class ScoreMatching(Protocol):
    """A rule that measures how far ∇ log γ is from the data's score, up to a constant of the data."""

    def __call__(self, log_density: LogDensity, x: Tensor, draws: Draws, /) -> Tensor:
        """The loss of each item of x (B, …): (B,)."""
        ...


@dataclass(frozen=True)
class Explicit:
    """tr ∇s + ½‖s‖² (Hyvärinen 2005): exact, one derivative per coordinate."""

    def __call__(self, log_density: LogDensity, x: Tensor, draws: Draws, /) -> Tensor:
        return explicit_loss(score_of(log_density), x)


@dataclass(frozen=True)
class Sliced:
    """vᵀ∇s v + ½(vᵀs)² (Song et al. 2019), the mean over `slices` directions."""

    slices: int = 1
    probe: Probe = rademacher_probe

    def __post_init__(self) -> None:
        _check_slices(self.slices)

    def __call__(self, log_density: LogDensity, x: Tensor, draws: Draws, /) -> Tensor:
        return sliced_loss(score_of(log_density), x, draws, probe=self.probe, slices=self.slices)


@dataclass(frozen=True)
class SlicedReduced:
    """vᵀ∇s v + ½‖s‖²: sliced with reduced variance, at the cost of `Sliced`."""

    slices: int = 1
    probe: Probe = rademacher_probe

    def __post_init__(self) -> None:
        _check_slices(self.slices)

    def __call__(self, log_density: LogDensity, x: Tensor, draws: Draws, /) -> Tensor:
        return sliced_loss_reduced(score_of(log_density), x, draws, probe=self.probe, slices=self.slices)


@dataclass(frozen=True)
class DenoisingAt:
    """½‖s(x + σz) + z/σ‖² times σ² (Vincent 2011): finds the density of the data *noised* by σ, in the data's unit."""

    sigma: float

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise UserError(f"denoising score matching needs a noise above 0; got {self.sigma}")

    def __call__(self, log_density: LogDensity, x: Tensor, draws: Draws, /) -> Tensor:
        return self.sigma**2 * denoising_score_loss(score_of(log_density), x, self.sigma, draws)


@dataclass(frozen=True)
class FiniteDifference:
    """J from three values of log γ at distance `step` (Pang et al. 2020): no derivative by x, so the cheapest."""

    step: float = 0.1
    probe: Probe = sphere_probe

    def __call__(self, log_density: LogDensity, x: Tensor, draws: Draws, /) -> Tensor:
        return finite_difference_loss(log_density, x, draws, step=self.step, probe=self.probe)


def _check_slices(slices: int) -> None:
    if slices < 1:
        raise UserError(f"sliced score matching needs at least one direction; got {slices}")
