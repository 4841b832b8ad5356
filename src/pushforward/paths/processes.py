"""The named paths: each gives its scales, and a closed-form inverse for speed, tested against bisection."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.paths.gaussian import GaussianPath


def _check_times(t_min: float, t_max: float) -> None:
    if not 0 <= t_min < t_max <= 1:
        raise UserError(f"a path needs 0 ≤ t_min < t_max ≤ 1; got t_min = {t_min}, t_max = {t_max}")


def _check_sigmas(low: float, high: float) -> None:
    if not 0 < low < high < math.inf:
        raise UserError(f"a path needs 0 < sigma_min < sigma_max; got sigma_min = {low}, sigma_max = {high}")


@dataclass(frozen=True)
class VP(GaussianPath):
    """Variance preserving with β(t) linear: α² = exp(−∫β), σ² = 1 − α² (Song et al. 2021, appendix C)."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _check_times(self.t_min, self.t_max)
        if not 0 <= self.beta_min <= self.beta_max < math.inf or self.beta_max == 0:
            raise UserError(f"a path needs 0 ≤ beta_min ≤ beta_max > 0; got {self.beta_min} and {self.beta_max}")

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        integral = self._integral(t)
        return torch.exp(-0.5 * integral), torch.sqrt(-torch.expm1(-integral))

    def time(self, log_ratio: Tensor) -> Tensor:
        # ∫β = log(1 + e^{−2λ}), then the positive root of the quadratic in t
        integral = torch.nn.functional.softplus(-2 * torch.as_tensor(log_ratio, dtype=torch.float64))
        slope = self.beta_max - self.beta_min
        root = 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))
        return root.clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class CosineVP(GaussianPath):
    """Variance preserving with α ∝ cos(π/2 · (t + s)/(1 + s)) (Nichol & Dhariwal 2021), stopped where α is small."""

    offset: float = 0.008
    t_min: float = 1e-3
    t_max: float = 0.9946

    def __post_init__(self) -> None:
        _check_times(self.t_min, self.t_max)
        if not self.offset >= 0:
            raise UserError(f"the offset of the cosine schedule must not be negative; got {self.offset}")

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        start = math.cos(math.pi / 2 * self.offset / (1 + self.offset))
        alpha = torch.cos(math.pi / 2 * (t + self.offset) / (1 + self.offset)) / start
        return alpha, torch.sqrt((1 - alpha) * (1 + alpha))

    def time(self, log_ratio: Tensor) -> Tensor:
        alpha = torch.sqrt(torch.sigmoid(2 * torch.as_tensor(log_ratio, dtype=torch.float64)))
        start = math.cos(math.pi / 2 * self.offset / (1 + self.offset))
        t = torch.acos(alpha * start) * (2 / math.pi) * (1 + self.offset) - self.offset
        return t.clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class SubVP(VP):
    """The sub-VP SDE of Song et al. (2021): α as VP, σ = 1 − α²."""

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        integral = self._integral(t)
        return torch.exp(-0.5 * integral), -torch.expm1(-integral)

    def time(self, log_ratio: Tensor) -> Tensor:
        # r = σ/α = (1 − α²)/α, so α = √(1 + r²/4) − r/2 and ∫β = −2 log α = 2 asinh(r/2)
        ratio = torch.exp(-torch.as_tensor(log_ratio, dtype=torch.float64).clamp(min=-300.0))
        integral = 2 * torch.asinh(ratio / 2)
        slope = self.beta_max - self.beta_min
        root = 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))
        return root.clamp(self.t_min, self.t_max)


@dataclass(frozen=True)
class VE(GaussianPath):
    """Variance exploding with a geometric ladder: α = 1, σ = σ_min (σ_max/σ_min)^t, in the data's unit."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _check_times(self.t_min, self.t_max)
        _check_sigmas(self.sigma_min, self.sigma_max)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def time(self, log_ratio: Tensor) -> Tensor:
        sigma = torch.exp(-torch.as_tensor(log_ratio, dtype=torch.float64))
        return (torch.log(sigma / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)).clamp(
            self.t_min, self.t_max
        )


@dataclass(frozen=True)
class EDM(GaussianPath):
    """Karras et al. (2022): α = 1 and σ proportional to time, σ = σ_max t, from σ_min on; in the data's unit."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    t_min: float = field(init=False)
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _check_sigmas(self.sigma_min, self.sigma_max)
        object.__setattr__(self, "t_min", self.sigma_min / self.sigma_max)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_max * t

    def time(self, log_ratio: Tensor) -> Tensor:
        sigma = torch.exp(-torch.as_tensor(log_ratio, dtype=torch.float64))
        return (sigma / self.sigma_max).clamp(self.t_min, 1.0)


@dataclass(frozen=True)
class Straight(GaussianPath):
    """Flow matching (Lipman et al. 2023): α = 1 − t, σ = t. At t = 1 nothing of the data is left (α = 0)."""

    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _check_times(self.t_min, self.t_max)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t * 1.0

    def time(self, log_ratio: Tensor) -> Tensor:
        return torch.sigmoid(-torch.as_tensor(log_ratio, dtype=torch.float64)).clamp(self.t_min, self.t_max)
