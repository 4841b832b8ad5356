"""The Gaussian corruption x_t = α(t) x_0 + σ(t) z: a subclass gives α and σ, everything else is derived."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand


@dataclass(frozen=True, slots=True)
class Level:
    """A time with its scales. Floats (float64) for a whole batch, or float64 tensors (B,), one per sample.

    Typed Any and not `Scalar`: rules that plan on a grid know their levels to be floats, denoisers take both.
    """

    t: Any
    alpha: Any
    sigma: Any

    @property
    def log_ratio(self) -> Any:
        """λ = log(α/σ), half the log-SNR: +∞ on clean data, −∞ where nothing of the data is left."""
        if isinstance(self.alpha, Tensor) or isinstance(self.sigma, Tensor):
            return torch.log(torch.as_tensor(self.alpha) / torch.as_tensor(self.sigma))
        if self.alpha == 0:
            return -math.inf
        return math.log(self.alpha / self.sigma) if self.sigma > 0 else math.inf

    @property
    def ratio(self) -> Any:
        """σ/α, the noise level of EDM: 0 on clean data, ∞ where nothing of the data is left."""
        if isinstance(self.alpha, Tensor):
            return self.sigma / self.alpha
        return self.sigma / self.alpha if self.alpha > 0 else math.inf


CLEAN = Level(0.0, 1.0, 0.0)
"""Clean data, σ = 0: the last point that a sampling grid may add beyond the path's own t_min."""


class Posterior(NamedTuple):
    """A Gaussian with one variance for all coordinates (float, or one per sample)."""

    mean: Tensor
    var: Scalar


class GaussianPath(ABC):
    """x_t = α(t) x_0 + σ(t) z with z ~ N(0, I); t in [t_min, t_max] ⊂ [0, 1], data side first.

    A subclass defines `scales` in differentiable float64 tensor operations; λ(t) = log(α/σ) must decrease. The SDE
    dx = f(t) x dt + g(t) dw with these marginals has f = α′/α and g² = 2σσ′ − 2fσ² (Kingma et al. 2021, eq. 2-3 in
    other letters); its probability flow moves with velocity α′ E[x_0|x_t] + σ′ E[z|x_t].
    """

    t_min: float
    t_max: float

    @abstractmethod
    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(α, σ) at times t: float64 tensors of the shape of t."""

    def level(self, t: Scalar | Level) -> Level:
        """The time t with its scales. Raises UserError for a time outside [0, 1].

        Times per sample (B,) on an accelerator are taken as they are: to look at them would wait for it at every step.
        """
        if isinstance(t, Level):
            return t
        if isinstance(t, Tensor) and t.ndim:
            times = t.to(torch.float64)
            if times.device.type == "cpu":
                _check_inside(times)
            alpha, sigma = self.scales(times)
            return Level(times, alpha, sigma)
        try:
            time = float(t)
        except (TypeError, ValueError):
            raise UserError(f"a time is a number in [0, 1], a tensor of them or a Level; got {t!r}") from None
        if not 0.0 <= time <= 1.0:
            raise _outside(time)
        alpha, sigma = self.scales(torch.tensor(time, dtype=torch.float64))
        return Level(time, float(alpha), float(sigma))

    def levels(self, times: Sequence[float] | Tensor) -> tuple[Level, ...]:
        """One level per time. Raises UserError for a time outside [0, 1] or not finite."""
        t = torch.as_tensor(times, dtype=torch.float64)
        if t.ndim != 1:
            raise UserError(f"times must be a list of numbers in [0, 1]; got the shape {tuple(t.shape)}")
        _check_inside(t)
        alpha, sigma = self.scales(t)
        return tuple(map(Level, t.tolist(), alpha.tolist(), sigma.tolist()))

    def log_ratio(self, t: Tensor) -> Tensor:
        """λ(t) = log(α/σ), float64."""
        alpha, sigma = self.scales(t)
        return torch.log(alpha) - torch.log(sigma)

    def time(self, log_ratio: Tensor) -> Tensor:
        """The inverse of λ(t) on [t_min, t_max] by bisection to the last bit; outside, the nearest end."""
        target = torch.as_tensor(log_ratio, dtype=torch.float64)
        low, high = torch.full_like(target, self.t_min), torch.full_like(target, self.t_max)
        for _ in range(60):
            middle = (low + high) / 2
            above = self.log_ratio(middle) > target
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (low + high) / 2

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(α′, σ′) by automatic differentiation of `scales`; float64, the shape of t."""
        with torch.inference_mode(False), torch.enable_grad():
            times = torch.as_tensor(t, dtype=torch.float64).clone().requires_grad_()
            alpha, sigma = self.scales(times)
            both = [
                torch.autograd.grad(y.sum(), times, retain_graph=True)[0]
                if y.requires_grad
                else torch.zeros_like(times)
                for y in (alpha, sigma)
            ]
        return both[0].detach(), both[1].detach()

    def drift(self, t: Tensor) -> Tensor:
        """f(t) = α′/α of the forward SDE."""
        return self.rates(t)[0] / self.scales(t)[0]

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """g²(t) = 2σσ′ − 2(α′/α)σ² of the forward SDE."""
        (alpha, sigma), (alpha_rate, sigma_rate) = self.scales(t), self.rates(t)
        return 2 * sigma * sigma_rate - 2 * alpha_rate / alpha * sigma**2

    def mix(self, x0: Tensor | float, z: Tensor, t: Scalar | Level) -> Tensor:
        """α x_0 + σ z: the corruption of data, and the move of most samplers. x0, z: (B, …)."""
        level = self.level(t)
        return expand(level.alpha, z) * x0 + expand(level.sigma, z) * z

    def advance(self, x: Tensor, s: Scalar | Level, t: Scalar | Level, z: Tensor) -> Tensor:
        """A draw of q(x_t | x_s) for t noisier than s: (α_t/α_s) x + √(σ_t² − (α_t σ_s/α_s)²) z."""
        low, high = self.level(s), self.level(t)
        scale = high.alpha / low.alpha
        spread = (high.sigma**2 - (scale * low.sigma) ** 2) ** 0.5
        if isinstance(spread, complex):
            raise UserError(f"advance goes to more noise; from t = {low.t:g} to {high.t:g} there is less")
        return expand(scale, x) * x + expand(spread, x) * z

    def posterior(self, x0: Tensor, x: Tensor, s: Scalar | Level, t: Scalar | Level) -> Posterior:
        """q(x_s | x_t, x_0) for s less noisy than t: the reverse step whose data are known (Ho et al. 2020, eq. 6-7).

        With a = α_t/α_s and v = σ_t² − a²σ_s², the mean is (aσ_s² x_t + α_s v x_0)/σ_t² and the variance σ_s² v/σ_t².
        """
        low, high = self.level(s), self.level(t)
        along_x, along_x0, var = posterior_scales(low, high)
        return Posterior(expand(along_x, x) * x + expand(along_x0, x) * x0, var)

    def prior(self, z: Tensor) -> Tensor:
        """The start of sampling, σ(t_max) z: (B, …)."""
        return self.mix(0.0, z, self.t_max)


def _check_inside(times: Tensor) -> None:
    inside = (times >= 0) & (times <= 1)  # False for nan
    if not bool(inside.all()):
        raise _outside(float(times[~inside].flatten()[0]))


def _outside(time: float) -> UserError:
    return UserError(f"time {time:g} is outside [0, 1]; 0 is the data side, 1 the noise side")


def posterior_scales(s: Level, t: Level) -> tuple[Scalar, Scalar, Scalar]:
    """(coefficient of x_t, coefficient of x_0, variance) of q(x_s | x_t, x_0)."""
    scale = t.alpha / s.alpha
    fresh = t.sigma**2 - (scale * s.sigma) ** 2
    if not isinstance(fresh, Tensor) and fresh < 0:
        raise UserError(f"the posterior goes to less noise; from t = {t.t:g} to {s.t:g} there is more")
    share = (s.sigma / t.sigma) ** 2
    return scale * share, s.alpha * fresh / t.sigma**2, share * fresh
