"""Regularisation by denoising diffusion (RED-diff: Mardani et al. 2024): an optimiser over x, no network gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood, Measurement
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.paths.grids import Grid, UniformLogSNR, check_steps
from pushforward.samplers.step import Observer, Progress

DESCENDING = UniformLogSNR(to_clean=False)


@dataclass
class Adam:
    """Adam (Kingma & Ba 2015), element by element, so that no item knows of its neighbours."""

    rate: float
    betas: tuple[float, float] = (0.9, 0.99)
    steps: int = 0
    mean: Tensor | None = None
    square: Tensor | None = None

    def descend(self, x: Tensor, gradient: Tensor, share: float = 1.0) -> Tensor:
        """x less a share of the rate times the normalised gradient."""
        first, second = self.betas
        if self.mean is None or self.square is None:
            self.mean, self.square = torch.zeros_like(x), torch.zeros_like(x)
        self.steps += 1
        self.mean = self.mean.lerp(gradient, 1 - first)
        self.square = self.square.lerp(gradient.square(), 1 - second)
        size = (self.square / (1 - second**self.steps)).sqrt().add_(1e-8)
        return x - share * self.rate / (1 - first**self.steps) * self.mean / size


@dataclass(frozen=True)
class REDDiff:
    """min_μ ‖y − h(μ)‖²/2 + λ Σ_t w_t KL(N(α μ, σ²) ‖ p_t), one level of descending noise per step of Adam.

    With w_t = (σ/α)² the gradient of the second term is λ(σ/α)(E[z | x_t] − z) at x_t = α μ + σ z. The answer is a
    mode: the spread of its draws is the optimiser's noise, not that of the posterior. σ_y is not asked for; λ is to be
    tuned to it. Any measurement, linear or not.

    By default it starts from 0 and the rate falls linearly to 0, so that the end is at rest; as published
    from h†(y), which noise may have blown up, and at a constant rate.
    """

    rate: float = 0.1
    weight: float = 0.25
    as_published: bool = False
    grid: Grid = DESCENDING

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.weight > 0):
            raise UserError(f"the rate and the weight of RED-diff are above 0; got {self.rate} and {self.weight}")

    @staticmethod
    def published(rate: float = 0.1, weight: float = 0.25) -> REDDiff:
        """Rate 0.1 to 0.5, constant, λ = 0.25; 100 to 1000 evaluations."""
        return REDDiff(rate, weight, True)

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
        """One draw for each row of the batch; see `Method`."""
        if not isinstance(likelihood, Measurement):
            raise UserError(f"RED-diff descends from a measurement; a {type(likelihood).__name__} likelihood has none")
        path = denoiser.path
        count = check_steps(evaluations)
        levels = self.grid(path, count - 1) if count > 1 else (path.level(path.t_max),)
        predicted = likelihood.operator(x)
        if self.as_published:
            mu = likelihood.operator.pseudo_inverse(likelihood.given(predicted)).to(x.dtype).expand(x.shape)
        else:
            likelihood.given(predicted)
            mu = torch.zeros_like(x)
        optimiser = Adam(self.rate)
        for i, level in enumerate(levels):
            z = draws.at(i).normal_like(x)
            estimate = denoiser.estimate(path.mix(mu, z, level), level)
            gradient = self._gradient(likelihood, mu, estimate.noise - z, level)
            mu = optimiser.descend(mu, gradient, 1.0 if self.as_published else 1 - i / len(levels))
            if observe:
                observe(Progress(i + 1, len(levels), level, mu, estimate))
        return mu

    def _gradient(self, likelihood: Measurement, mu: Tensor, surprise: Tensor, level: Level) -> Tensor:
        ratio = min(level.ratio, 1e4)  # σ/α is infinite where nothing of the data is left
        return self.weight * ratio * surprise - likelihood.operator.vjp(mu, likelihood.residual(mu))
