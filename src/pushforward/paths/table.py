"""Exact tables of T levels: the β schedules of DDPM and the σ ladders of NCSN. Level k lives at t = k/T, k = 1 … T."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.paths.gaussian import GaussianPath


class Table(GaussianPath):
    """A path known at T levels, exact there; between them the angle atan(σ/α) and the radius are linear in t.

    The angle is finite even where α = 0 (zero terminal SNR), so every grid works on every table. t = 0 is clean data.
    """

    def __init__(self, alphas: Sequence[float] | Tensor, sigmas: Sequence[float] | Tensor) -> None:
        alpha, sigma = torch.as_tensor(alphas, dtype=torch.float64), torch.as_tensor(sigmas, dtype=torch.float64)
        if alpha.ndim != 1 or alpha.shape != sigma.shape or len(alpha) < 1:
            raise UserError(f"a table needs two lists of equal length; got {tuple(alpha.shape)}, {tuple(sigma.shape)}")
        angle = torch.atan2(sigma, alpha)
        if not bool((torch.diff(angle) > 0).all() and (angle > 0).all()):
            raise UserError(
                "the levels of a table must go from little noise to much: σ/α has to increase from entry to entry"
            )
        self.alphas, self.sigmas = alpha, sigma
        self._angle = torch.cat((angle.new_zeros(1), angle))
        radius = torch.cat((alpha.new_ones(1), torch.hypot(alpha, sigma)))
        self._log_radius = torch.log(radius)
        self.t_min, self.t_max = 1 / len(alpha), 1.0
        self._moved = {alpha.device: (self._angle, self._log_radius)}

    @classmethod
    def of_betas(cls, betas: Sequence[float] | Tensor) -> Table:
        """ᾱ_k = Π(1 − β_i), α = √ᾱ, σ = √(1 − ᾱ) (Ho et al. 2020). Raises UserError unless 0 < β ≤ 1."""
        beta = torch.as_tensor(betas, dtype=torch.float64)
        if not bool(((beta > 0) & (beta <= 1)).all()):
            raise UserError("every β must lie in (0, 1]")
        log_bar = torch.cumsum(torch.log1p(-beta), 0)
        return cls(torch.exp(0.5 * log_bar), torch.sqrt(-torch.expm1(log_bar)))

    @classmethod
    def of_sigmas(cls, sigmas: Sequence[float] | Tensor) -> Table:
        """A variance-exploding ladder, α = 1, from little noise to much (published NCSN lists run the other way)."""
        sigma = torch.as_tensor(sigmas, dtype=torch.float64)
        return cls(torch.ones_like(sigma), sigma)

    def __len__(self) -> int:
        return len(self.alphas)

    @property
    def betas(self) -> Tensor:
        """β_k = 1 − ᾱ_k/ᾱ_{k−1}: float64 (T,)."""
        bar = torch.cat((self.alphas.new_ones(1), self.alphas**2))
        return 1 - bar[1:] / bar[:-1]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The table where the times are; copied once, so that no step waits for it."""
        if device not in self._moved:
            self._moved[device] = (self._angle.to(device), self._log_radius.to(device))
        return self._moved[device]

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angles, log_radii = self._on(t.device)
        position = t * len(self)
        below = position.detach().floor().clamp(0, len(self) - 1).long()
        part = position - below
        angle = torch.lerp(angles[below], angles[below + 1], part)
        radius = torch.exp(torch.lerp(log_radii[below], log_radii[below + 1], part))
        # cos(π/2) is 6e-17 in floating point: where nothing of the data is left, α is 0
        alpha = torch.where(angle >= math.pi / 2, angle.new_zeros(()), radius * torch.cos(angle))
        return alpha, radius * torch.sin(angle)

    def time(self, log_ratio: Tensor) -> Tensor:
        target = torch.atan(torch.exp(-torch.as_tensor(log_ratio, dtype=torch.float64)))
        angles, _ = self._on(target.device)
        above = torch.searchsorted(angles, target).clamp(1, len(self))
        low, high = angles[above - 1], angles[above]
        return ((above - 1 + (target - low) / (high - low)) / len(self)).clamp(self.t_min, self.t_max)


def linear_betas(T: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """β linear in k (Ho et al. 2020). For T ≠ 1000 pass ends scaled by 1000/T to reach the same total noise."""
    return torch.linspace(first, last, T, dtype=torch.float64)


def sqrt_linear_betas(T: int = 1000, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """√β linear in k: the schedule that latent diffusion calls "linear" (Rombach et al. 2022)."""
    return torch.linspace(math.sqrt(first), math.sqrt(last), T, dtype=torch.float64) ** 2


def cosine_betas(T: int = 1000, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """The cosine schedule with β clipped at `largest` (Nichol & Dhariwal 2021)."""
    angle = (torch.arange(T + 1, dtype=torch.float64) / T + offset) / (1 + offset) * math.pi / 2
    bar = torch.cos(angle) ** 2
    return (1 - bar[1:] / bar[:-1]).clamp(max=largest)


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """The schedule shifted and scaled so that α_T = 0 (Lin et al. 2024, algorithm 1)."""
    alpha = torch.sqrt(torch.cumprod(1 - betas.to(torch.float64), 0))
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    bar = torch.cat((alpha.new_ones(1), alpha**2))
    return 1 - bar[1:] / bar[:-1]


def ncsn_ladder(largest: float = 50.0, smallest: float = 0.01, levels: int = 232) -> Tensor:
    """A geometric σ ladder, ascending (Song & Ermon 2020)."""
    return torch.exp(torch.linspace(math.log(smallest), math.log(largest), levels, dtype=torch.float64))
