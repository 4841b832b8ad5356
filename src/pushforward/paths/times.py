"""Laws of the times that a network is trained at: float64 times in [t_min, t_max], one per sample."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # 2⁶⁴ / golden ratio, as a signed integer


class Times(NamedTuple):
    """Times (B,), and for laws that sample where it matters the importance weights (B,) and cells (B,) drawn."""

    t: Tensor
    weight: Tensor | None = None
    cell: Tensor | None = None


class TimeLaw(Protocol):
    """A rule that draws one time per sample."""

    def __call__(self, path: GaussianPath, draws: Draws, /) -> Times:
        """float64 times (B,) in [t_min, t_max]."""
        ...


class QuantileLaw(ABC):
    """A law given by its quantile function."""

    @abstractmethod
    def quantile(self, path: GaussianPath, u: Tensor) -> Tensor:
        """The time below which a share u of the times lies: float64 (B,) in (0, 1) -> (B,)."""

    def __call__(self, path: GaussianPath, draws: Draws, /) -> Times:
        return Times(self.quantile(path, draws.uniform((), torch.float64)))


@dataclass(frozen=True)
class UniformTimes(QuantileLaw):
    """t uniform in [t_min, t_max]."""

    def quantile(self, path: GaussianPath, u: Tensor) -> Tensor:
        return path.t_min + (path.t_max - path.t_min) * u


@dataclass(frozen=True)
class UniformLevels(QuantileLaw):
    """One of the levels k/T of a table, k = 1 … T, each as likely (Ho et al. 2020)."""

    T: int = 1000

    def quantile(self, path: GaussianPath, u: Tensor) -> Tensor:
        return torch.ceil(u * self.T).clamp(1, self.T) / self.T


@dataclass(frozen=True)
class LogNormalTimes(QuantileLaw):
    """log(σ/α) normal, cut to the path's range (Karras et al. 2022: −1.2, 1.2 for σ_data = 0.5, shifted for others)."""

    mean: float = -1.2
    sd: float = 1.2
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        _check_positive("sd", self.sd)
        _check_positive("sigma_data", self.sigma_data)

    def quantile(self, path: GaussianPath, u: Tensor) -> Tensor:
        centre = self.mean + math.log(self.sigma_data / 0.5)
        ends = path.log_ratio(torch.tensor([path.t_min, path.t_max], dtype=torch.float64))
        z = _cut_normal(u, (-ends - centre) / self.sd)
        return path.time(-(centre + self.sd * z))


@dataclass(frozen=True)
class LogitNormalTimes(QuantileLaw):
    """logit(t) normal, cut to the path's range (Esser et al. 2024): for flow matching, more times in the middle."""

    mean: float = 0.0
    sd: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("sd", self.sd)

    def quantile(self, path: GaussianPath, u: Tensor) -> Tensor:
        ends = torch.logit(torch.tensor([path.t_min, path.t_max], dtype=torch.float64))
        z = _cut_normal(u, (ends - self.mean) / self.sd)
        return torch.sigmoid(self.mean + self.sd * z).clamp(path.t_min, path.t_max)


@dataclass(frozen=True)
class Stratified:
    """The law with u = frac(i/golden ratio + offset) for sample number i: any run of numbers covers it evenly.

    i is `draws.index`, so the times do not depend on how a batch is cut or how many processes share it; it must run
    on from step to step. The marginal law stays the same, the variance of the mean loss falls.
    """

    law: QuantileLaw
    offset: float = 0.0

    def __call__(self, path: GaussianPath, draws: Draws, /) -> Times:
        turn = int((self.offset % 1.0 - 0.5) * 2.0**53) * (1 << 11)  # half a turn less, as the words are signed
        words = draws.index * _GOLDEN + turn
        u = (words.bitwise_right_shift(11).to(torch.float64) + 0.5) * 2.0**-53 + 0.5
        return Times(self.law.quantile(path, u))


def _itself(value: Tensor) -> Tensor:
    return value


class LossAware(nn.Module):
    """Importance sampling by the size of the loss (Nichol & Dhariwal 2021): p(cell) ∝ √E[loss²], weight 1/(n p).

    The law is cut into n cells of equal probability. The averages are buffers, so they are stored with the model and a
    resumed run continues exactly; `observe` updates them from the losses of one step. Where a step is cut into parts
    or shared by processes, each part is `tally`ed and `settle` updates from the sums over all of them, so that the
    averages are the same however it is cut. Until every cell has been seen the law itself is used.
    """

    second: Tensor
    seen: Tensor
    _tallied: Tensor | None  # no buffer: it is of one step alone, and wrappers of modules overwrite buffers

    def __init__(self, law: QuantileLaw, cells: int = 64, decay: float = 0.99, floor: float = 0.01) -> None:
        super().__init__()
        if cells < 2 or not 0 <= decay < 1 or not 0 < floor <= 1:
            raise UserError(
                f"loss-aware times need cells ≥ 2, 0 ≤ decay < 1 and 0 < floor ≤ 1; got {cells}, {decay:g}, {floor:g}"
            )
        self.law, self.cells, self.decay, self.floor, self._tallied = law, cells, decay, floor, None
        self.register_buffer("second", torch.zeros(cells, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(cells, dtype=torch.int64))

    def probabilities(self) -> Tensor:
        """The probability of each cell: float64 (n,), never below floor/n."""
        even = torch.full_like(self.second, 1 / self.cells)
        size = torch.sqrt(self.second)
        sharp = size / size.sum().clamp(min=torch.finfo(size.dtype).tiny)
        mixed = (1 - self.floor) * sharp + self.floor * even
        return torch.where((self.seen > 0).all() & (size.sum() > 0), mixed, even)

    def forward(self, path: GaussianPath, draws: Draws, /) -> Times:
        p = self.probabilities()
        u = draws.uniform((2,), torch.float64)
        cell = torch.searchsorted(torch.cumsum(p, 0), u[:, 0].contiguous()).clamp(max=self.cells - 1)
        t = self.law.quantile(path, (cell + u[:, 1]) / self.cells)
        return Times(t, 1 / (self.cells * p[cell]), cell)

    def observe(self, times: Times, loss: Tensor) -> None:
        """Take in the losses (B,), before importance weights, of the times that were drawn: those of a whole step."""
        self.tally(times, loss)
        self.settle()

    @torch.no_grad()
    def tally(self, times: Times, loss: Tensor) -> None:
        """Note the losses (B,) of a part of a step; nothing is drawn otherwise before `settle`."""
        if times.cell is None:
            raise UserError("these times were drawn by another law; observe takes the times that this law drew")
        # one product instead of scattered sums, whose order is not fixed on accelerators
        member = (times.cell[:, None] == torch.arange(self.cells, device=times.cell.device)).to(self.second.dtype)
        sums = torch.stack((member.sum(0), member.T @ loss.detach().to(self.second.dtype).square()))
        self._tallied = sums if self._tallied is None else self._tallied + sums

    @torch.no_grad()
    def settle(self, total: Callable[[Tensor], Tensor] = _itself) -> None:
        """Take in what was noted since the last time; `total` sums a tensor over all processes that share a step."""
        sums = torch.zeros_like(self.second).expand(2, -1) if self._tallied is None else self._tallied
        (count, total_square), self._tallied = total(sums), None
        keep = torch.where(self.seen > 0, self.decay**count, torch.zeros_like(count))
        mixed = keep * self.second + (1 - keep) * total_square / count.clamp(min=1)
        self.second.copy_(torch.where(count > 0, mixed, self.second))
        self.seen.add_(count.to(self.seen.dtype))


def _cut_normal(u: Tensor, ends: Tensor) -> Tensor:
    """Quantiles of the standard normal cut to [ends[0], ends[1]]."""
    low, high = torch.special.ndtr(ends).tolist()
    if not low < high:
        raise UserError("the law of times puts no mass on the path's range of noise; move its mean or widen its sd")
    return torch.special.ndtri(low + (high - low) * u).clamp(*ends.tolist())


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} must be a positive number; got {value}")
