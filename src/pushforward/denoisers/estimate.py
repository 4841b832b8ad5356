"""What is known of (x_0, z) given x_t."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, expand
from pushforward.paths.gaussian import Level

Variance = Tensor | Callable[[], Tensor | None] | None
"""Var[x_0 | x_t]: per sample (B,) or per coordinate (B, …), possibly computed only when asked for."""


class Reading(NamedTuple):
    """The scalars that read an output F as an estimate: mean = m_x x + m_f F, noise = n_x x + n_f F."""

    mean_x: Scalar
    mean_f: Scalar
    noise_x: Scalar
    noise_f: Scalar


class Estimate:
    """E[x_0 | x_t] (`mean`) and E[z | x_t] (`noise`), with α·mean + σ·noise = x_t always.

    Both are read from one output F by four scalars, computed only when asked for: conversions happen on scalars, so
    nothing is lost where α or σ is small. `var` is Var[x_0 | x_t] where the denoiser knows it.
    """

    __slots__ = ("_mean", "_noise", "_reading", "_var", "level", "output", "x")

    def __init__(self, x: Tensor, level: Level, output: Tensor, reading: Reading, var: Variance = None) -> None:
        self.x, self.level, self.output, self._reading, self._var = x, level, output, reading, var
        self._mean: Tensor | None = None
        self._noise: Tensor | None = None

    @classmethod
    def of_mean(cls, x: Tensor, level: Level, mean: Tensor, var: Variance = None) -> Estimate:
        """From E[x_0 | x_t]."""
        return cls(x, level, mean, mean_reading(level), var)

    @classmethod
    def of_noise(cls, x: Tensor, level: Level, noise: Tensor, var: Variance = None) -> Estimate:
        """From E[z | x_t]; needs α > 0."""
        return cls(x, level, noise, noise_reading(level), var)

    @property
    def reading(self) -> Reading:
        """The scalars by which the output is read."""
        return self._reading

    def reads_like(self, other: Estimate) -> bool:
        """Whether both outputs mean the same thing: equal scalars (the very same ones, where they are tensors)."""
        pairs = zip(self._reading, other._reading, strict=True)
        return all(a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b) for a, b in pairs)

    @property
    def mean(self) -> Tensor:
        """E[x_0 | x_t]: (B, …)."""
        if self._mean is None:
            self._mean = self.read(1.0, 0.0)
        return self._mean

    @property
    def noise(self) -> Tensor:
        """E[z | x_t]: (B, …)."""
        if self._noise is None:
            self._noise = self.read(0.0, 1.0)
        return self._noise

    @property
    def score(self) -> Tensor:
        """∇ log p_t(x_t) = −noise/σ: (B, …)."""
        return self.noise / -expand(self.level.sigma, self.x)

    @property
    def var(self) -> Tensor | None:
        """Var[x_0 | x_t], (B,) or (B, …); None where it is not known."""
        if callable(self._var):
            self._var = self._var()
        return self._var

    def read(self, a: Scalar, b: Scalar) -> Tensor:
        """a·mean + b·noise, combined on scalars before any tensor is touched."""
        r = self._reading
        along_x, along_f = a * r.mean_x + b * r.noise_x, a * r.mean_f + b * r.noise_f
        if isinstance(along_x, float) and isinstance(along_f, float):
            if along_x == 0.0:
                return self.output if along_f == 1.0 else self.output * along_f
            return (
                (self.x * along_x).add_(self.output, alpha=along_f)
                if not _tracked(self)
                else (self.x * along_x + self.output * along_f)
            )
        return expand(along_x, self.x) * self.x + expand(along_f, self.x) * self.output


def _tracked(estimate: Estimate) -> bool:
    return estimate.x.requires_grad or estimate.output.requires_grad


def mean_reading(level: Level) -> Reading:
    """How E[x_0 | x_t] is read as an estimate; of clean data the noise is unknown, E[z] = 0."""
    clean = not isinstance(level.sigma, Tensor) and level.sigma == 0
    return Reading(0.0, 1.0, 0.0, 0.0) if clean else Reading(0.0, 1.0, 1 / level.sigma, -level.alpha / level.sigma)


def noise_reading(level: Level) -> Reading:
    """How E[z | x_t] is read as an estimate. Raises UserError where α = 0."""
    if not isinstance(level.alpha, Tensor) and level.alpha == 0:
        raise UserError(
            f"noise prediction says nothing of the data where α = 0 (t = {level.t:g}); predict v, flow or x_0 instead"
        )
    return Reading(1 / level.alpha, -level.sigma / level.alpha, 0.0, 1.0)
