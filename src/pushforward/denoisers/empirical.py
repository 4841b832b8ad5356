"""The exact denoiser of a data set: its empirical measure, streamed through in chunks so that memory stays bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True)
class EmpiricalDenoiser(Denoiser):
    """E[x_0 | x_t] = Σ_i w_i p_i with w = softmax(−‖x_t − αp_i‖²/2σ²) over the points p: (N, …).

    Cost O(B N D) per evaluation, memory O(B chunk + B D). This is what a network of unlimited size would learn.
    """

    points: Tensor
    path: GaussianPath
    chunk: int = 8192

    def __post_init__(self) -> None:
        if self.points.ndim < 2 or len(self.points) == 0 or self.chunk < 1:
            raise UserError(
                f"an empirical measure needs points (N, …) with N ≥ 1 and a chunk of at least 1; got "
                f"{tuple(self.points.shape)} and {self.chunk}"
            )

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        sums = self._stream(x, level)
        mean = sums.first / sums.total
        var = (sums.second / sums.total - mean**2).clamp(min=0)
        return Estimate.of_mean(x, level, mean.reshape(x.shape), var.reshape(x.shape))

    def log_prob(self, x: Tensor, t: Scalar | Level) -> Tensor:
        """log p_t(x_t) in nats: (B,)."""
        level = self.path.level(t)
        sums = self._stream(x, level)
        sigma = torch.as_tensor(level.sigma, dtype=torch.float64).to(x).reshape(-1)
        dim = x[0].numel()
        return (
            sums.largest[:, 0]
            + torch.log(sums.total[:, 0])
            - math.log(len(self.points))
            - 0.5 * dim * math.log(2 * math.pi)
            - dim * torch.log(sigma)
        )

    def _stream(self, x: Tensor, level: Level) -> _Sums:
        flat = x.flatten(1)
        scales = (torch.as_tensor(s, dtype=torch.float64) for s in (level.alpha, level.sigma))
        alpha, sigma = (s.to(x).reshape(-1, 1) for s in scales)
        # ‖x − αp‖² = α²‖x/α − p‖²; an α below rounding is as good as 0
        safe = alpha.clamp(min=torch.finfo(x.dtype).eps)
        scaled, weight = flat / safe, 0.5 * (safe / sigma) ** 2
        sums = _Sums.empty(flat)
        for part in self.points.flatten(1).split(self.chunk):
            part = part.to(flat)
            distance = torch.cdist(scaled, part, compute_mode="donot_use_mm_for_euclid_dist")
            sums = sums.plus(-weight * distance.square(), part)
        return sums


@dataclass(frozen=True)
class _Sums:
    """Σ e^{l − largest}·(1, p, p²) so far."""

    largest: Tensor
    total: Tensor
    first: Tensor
    second: Tensor

    @staticmethod
    def empty(like: Tensor) -> _Sums:
        zero = like.new_zeros(len(like), 1)
        return _Sums(zero - torch.inf, zero, torch.zeros_like(like), torch.zeros_like(like))

    def plus(self, log_weight: Tensor, points: Tensor) -> _Sums:
        largest = torch.maximum(self.largest, log_weight.amax(1, keepdim=True))
        kept, new = torch.exp(self.largest - largest), torch.exp(log_weight - largest)
        return _Sums(
            largest,
            kept * self.total + new.sum(1, keepdim=True),
            kept * self.first + new @ points,
            kept * self.second + new @ points.square(),
        )
