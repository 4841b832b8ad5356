"""Grids of levels for sampling: n steps from t_max down to t_min, then optionally to clean data. Any grid, any path."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.paths.gaussian import CLEAN, GaussianPath, Level

_NOISE_END = -6.0
"""Where a path ends with α = 0 (λ = −∞), grids in λ are laid from λ = −6 (σ/α ≈ 400); their first point is t_max."""


class Grid(Protocol):
    """A rule that places n steps on a path."""

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        """n + 1 levels from noise to data. Raises UserError for steps < 1."""
        ...


def check_steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, numbers.Real) or steps % 1 != 0 or steps < 1:
        raise UserError(f"steps must be a whole number of at least 1; got {steps!r}")
    return int(steps)


def check_decreasing(levels: Sequence[Level]) -> None:
    """Raises UserError unless the noise decreases from each level to the next."""
    for before, after in itertools.pairwise(levels):
        if not after.ratio < before.ratio:
            raise UserError(
                f"a sampling grid must decrease from noise to data; it goes from t = {before.t:g} "
                f"(σ = {before.sigma:g}) to t = {after.t:g} (σ = {after.sigma:g})"
            )


def _at(path: GaussianPath, times: Tensor, to_clean: bool) -> tuple[Level, ...]:
    levels = path.levels(times)
    return (*levels, CLEAN) if to_clean else levels


def finite_ends(path: GaussianPath) -> tuple[float, float]:
    """(λ at t_max, λ at t_min), the first made −6 where it is −∞."""
    ends = path.log_ratio(torch.tensor([path.t_max, path.t_min], dtype=torch.float64))
    return (_NOISE_END if torch.isinf(ends[0]) else float(ends[0])), float(ends[1])


def _count(steps: int, to_clean: bool) -> int:
    """How many of the path's own times there are: n + 1, or n when the last step goes to clean data."""
    return check_steps(steps) + (0 if to_clean else 1)


@dataclass(frozen=True)
class Uniform:
    """Times uniform in t."""

    to_clean: bool = True

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        times = torch.linspace(path.t_max, path.t_min, _count(steps, self.to_clean), dtype=torch.float64)
        return _at(path, times, self.to_clean)


@dataclass(frozen=True)
class UniformToZero:
    """Times uniform in t from t_max to 0, where data are clean: for jump processes, which need no stop before it."""

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        times = torch.linspace(path.t_max, 0.0, check_steps(steps) + 1, dtype=torch.float64)
        return (*path.levels(times[:-1]), CLEAN)


@dataclass(frozen=True)
class Quadratic:
    """Times uniform in √t: denser near the data."""

    to_clean: bool = True

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        count = _count(steps, self.to_clean)
        times = torch.linspace(path.t_max**0.5, path.t_min**0.5, count, dtype=torch.float64) ** 2
        return _at(path, times.clamp(path.t_min, path.t_max), self.to_clean)


@dataclass(frozen=True)
class UniformLogSNR:
    """Levels uniform in λ = log(α/σ)."""

    to_clean: bool = True

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        count = _count(steps, self.to_clean)
        first, last = finite_ends(path)
        times = path.time(torch.linspace(first, last, count, dtype=torch.float64))
        return _at(path, _pin_ends(path, times), self.to_clean)


@dataclass(frozen=True)
class Karras:
    """Uniform in (σ/α)^{1/ρ} (Karras et al. 2022, eq. 5): ρ = 7 published, large ρ tends to uniform log-SNR."""

    rho: float = 7.0
    to_clean: bool = True

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        count = _count(steps, self.to_clean)
        first, last = finite_ends(path)
        ends = torch.exp(-torch.tensor([first, last], dtype=torch.float64) / self.rho)
        ramp = torch.linspace(0, 1, count, dtype=torch.float64)
        ratio_root = ends[0] + ramp * (ends[1] - ends[0])
        times = path.time(-self.rho * torch.log(ratio_root))
        return _at(path, _pin_ends(path, times), self.to_clean)


@dataclass(frozen=True)
class DDIMStrided:
    """Every (T/n)-th level of a table of T, counted from the noisiest so that x_T is always used; then clean data.

    The published code (Song et al. 2021, `range(0, T, T // n)`) leaves out the noisiest levels and gives more than n
    steps when n does not divide T; here the n levels are k_i = round(T (n − i)/n), i = 0 … n − 1.
    """

    T: int = 1000

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        n = check_steps(steps)
        if n > self.T:
            raise UserError(f"a table of {self.T} levels admits at most {self.T} steps; got {n}")
        index = torch.round(self.T * torch.arange(n, 0, -1, dtype=torch.float64) / n)
        times = (index / self.T).clamp(path.t_min, path.t_max)
        return (*path.levels(times), CLEAN)


@dataclass(frozen=True)
class Nodes:
    """A grid of its own levels, given by λ = log(α/σ), e.g. learned ones: the same noise on every path."""

    log_ratios: tuple[float, ...]
    to_clean: bool = True

    def __post_init__(self) -> None:
        nodes = self.log_ratios
        if not nodes or not all(map(math.isfinite, nodes)) or any(b <= a for a, b in itertools.pairwise(nodes)):
            raise UserError(f"the λ of a grid must be finite and increase from noise to data; got {list(nodes)[:6]}")

    @staticmethod
    def of(levels: Sequence[Level]) -> Nodes:
        """The nodes of a grid that exists; a last level of clean data is kept as such."""
        to_clean = float(levels[-1].sigma) == 0.0
        return Nodes(tuple(float(level.log_ratio) for level in (levels[:-1] if to_clean else levels)), to_clean)

    def __call__(self, path: GaussianPath, steps: int, /) -> tuple[Level, ...]:
        have = len(self.log_ratios) - (0 if self.to_clean else 1)
        if check_steps(steps) != have:
            raise UserError(f"this grid was made for {have} steps; got {steps}")
        levels = _at(path, path.time(torch.tensor(self.log_ratios, dtype=torch.float64)), self.to_clean)
        check_decreasing(levels)
        return levels


def _pin_ends(path: GaussianPath, times: Tensor) -> Tensor:
    """Put the first and the last time on the path's ends exactly, where the inverse of λ left them a rounding off."""
    times = times.clone()
    times[0] = path.t_max
    if len(times) > 1:
        times[-1] = path.t_min
    return times
