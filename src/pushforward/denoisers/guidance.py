"""Guidance: classifier-free (Ho & Salimans 2022), by a classifier (Dhariwal & Nichol 2021), and its interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.variance import LearnedVariance
from pushforward.denoisers.wrappers import Wrapper
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, entries_of, expand
from pushforward.paths.gaussian import GaussianPath, Level


@dataclass(frozen=True)
class GuidanceInterval:
    """The noise levels σ/α at which guidance acts (Kynkäänniemi et al. 2024); all of them by default."""

    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise UserError(f"a guidance interval needs 0 ≤ low < high in σ/α; got {self.low} and {self.high}")

    def holds(self, level: Level) -> bool | Tensor:
        """Whether low < σ/α ≤ high, for the batch or per sample."""
        ratio = level.ratio
        if isinstance(ratio, Tensor):
            return (ratio > self.low) & (ratio <= self.high)
        return self.low < ratio <= self.high


ALWAYS = GuidanceInterval()


@dataclass(frozen=True)
class Guided(Denoiser):
    """u + w (c − u) of a conditional and an unconditional estimate: w = 1 is plain, w = 0 unconditional.

    Conditions are bound to the conditional denoiser. The variance is the conditional one's. Both are evaluated in one
    call where they are the same network with the same names of conditions (bind the "no label" to the unconditional).
    """

    conditional: Denoiser
    unconditional: Denoiser
    weight: Scalar
    interval: GuidanceInterval = ALWAYS

    def __post_init__(self) -> None:
        if self.conditional.path is not self.unconditional.path and self.conditional.path != self.unconditional.path:
            raise UserError("guidance needs two denoisers on the same path; these have different ones")

    @property
    def path(self) -> GaussianPath:  # type: ignore[override]
        return self.conditional.path

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        acts = self.interval.holds(level)
        if acts is False:
            return self.conditional.estimate(x, level)
        weight = self.weight
        if isinstance(acts, Tensor):
            weight = torch.where(acts, torch.as_tensor(weight, dtype=torch.float64, device=acts.device), 1.0)
        with_condition, without = self._both(x, level)
        return _extrapolated(with_condition, without, weight)

    def _both(self, x: Tensor, level: Level) -> tuple[Estimate, Estimate]:
        joint = _joint(self.conditional, self.unconditional)
        if joint is None:
            return self.conditional.estimate(x, level), self.unconditional.estimate(x, level)
        both = joint.estimate(torch.cat((x, x)), _twice(level))
        reading = joint.prediction.reading(level)
        first, second = both.output.chunk(2)
        return Estimate(x, level, first, reading, lambda: _first_half(both)), Estimate(x, level, second, reading)

    def given(self, **conditions: object) -> Guided:
        return replace(self, conditional=self.conditional.given(**conditions))

    def rows(self, index: Tensor) -> Guided:
        return replace(
            self,
            conditional=self.conditional.rows(index),
            unconditional=self.unconditional.rows(index),
            weight=_rows(self.weight, index),
        )


def guided(
    conditional: Denoiser, unconditional: Denoiser, weight: Scalar, interval: GuidanceInterval = ALWAYS
) -> Guided:
    """Classifier-free guidance with the weight w: float, or one per sample (B,)."""
    return Guided(conditional, unconditional, weight, interval)


@runtime_checkable
class Rowwise(Protocol):
    """A log-density that holds one label per sample, and can be had for some of the samples."""

    def __call__(self, x: Tensor, level: Level, /) -> Tensor: ...

    def rows(self, index: Tensor, /) -> Rowwise: ...


@dataclass(frozen=True)
class ClassifierGuided(Wrapper):
    """The score plus scale·∇_x log p(y | x_t), for any differentiable log_prob(x_t, level) -> (B,).

    mean + scale·(σ²/α)∇ log p. Where α = 0 the state says nothing of y and nothing is added: a first step from there is
    not guided. The variance is the inner denoiser's. Differentiable in x, as divergences need, where log_prob is twice.
    A log_prob that holds one label per sample should have `rows` too (see `Rowwise`).
    """

    log_prob: Callable[[Tensor, Level], Tensor]
    scale: Scalar = 1.0
    interval: GuidanceInterval = ALWAYS

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        inner = self.inner.estimate(x, level)
        acts = self.interval.holds(level)
        if acts is False or (not isinstance(level.alpha, Tensor) and level.alpha == 0):
            return inner
        strength = self.scale * level.sigma**2 / level.alpha
        if isinstance(acts, Tensor):
            strength = torch.where(acts & (level.alpha > 0), torch.as_tensor(strength), 0.0)
        gradient = _gradient(self.log_prob, x, level)
        return Estimate.of_mean(x, level, inner.mean + expand(strength, x) * gradient, lambda: inner.var)

    def rows(self, index: Tensor) -> ClassifierGuided:
        if not isinstance(self.log_prob, Rowwise):
            return replace(self, inner=self.inner.rows(index), scale=_rows(self.scale, index))
        return replace(
            self, inner=self.inner.rows(index), scale=_rows(self.scale, index), log_prob=self.log_prob.rows(index)
        )


def classifier_guided(
    denoiser: Denoiser,
    log_prob: Callable[[Tensor, Level], Tensor],
    scale: Scalar = 1.0,
    interval: GuidanceInterval = ALWAYS,
) -> ClassifierGuided:
    """The denoiser with scale·∇ log p(y | x_t) added to its score."""
    return ClassifierGuided(denoiser, log_prob, scale, interval)


def _rows(scalar: Scalar, index: Tensor) -> Scalar:
    return entries_of(scalar, index, "weights") if isinstance(scalar, Tensor) and scalar.ndim else scalar


def _gradient(log_prob: Callable[[Tensor, Level], Tensor], x: Tensor, level: Level) -> Tensor:
    """∇_x log p(y | x_t): (B, …), itself differentiable where x is being differentiated."""
    tracked = x.requires_grad and torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        state = x if tracked else x.detach().clone().requires_grad_()
        value = log_prob(state, level)
        if value.shape != x.shape[:1]:
            raise UserError(
                f"log_prob must give one number per sample, shape ({len(x)},); it gave {tuple(value.shape)}"
            )
        return torch.autograd.grad(value.sum(), state, create_graph=tracked)[0]


def _first_half(both: Estimate) -> Tensor | None:
    return None if both.var is None else both.var.chunk(2)[0]


def _joint(conditional: Denoiser, unconditional: Denoiser) -> NetworkDenoiser | LearnedVariance | None:
    """One denoiser whose batch is the two after another, where they share all but the values of the conditions."""
    first, second = conditional, unconditional
    if isinstance(first, LearnedVariance) and isinstance(second, LearnedVariance):
        base = _joint(first.base, second.base)
        return replace(first, base=base) if isinstance(base, NetworkDenoiser) and first.rule == second.rule else None
    if not isinstance(first, NetworkDenoiser) or not isinstance(second, NetworkDenoiser):
        return None
    same = first.network is second.network and first.prediction == second.prediction and first.time == second.time
    if not same or first.conditions.keys() != second.conditions.keys():
        return None
    pairs = {name: (value, second.conditions[name]) for name, value in first.conditions.items()}
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs.values()):
        return None
    return replace(first, conditions={name: torch.cat(pair) for name, pair in pairs.items()})


def _twice(level: Level) -> Level:
    return Level(
        *(torch.cat((s, s)) if isinstance(s, Tensor) and s.ndim else s for s in (level.t, level.alpha, level.sigma))
    )


def _extrapolated(one: Estimate, other: Estimate, weight: Scalar) -> Estimate:
    """other + w (one − other), on the outputs where both are read alike, else on the means."""
    w = expand(weight, one.x)
    if one.reads_like(other):
        output = other.output + w * (one.output - other.output)
        return Estimate(one.x, one.level, output, one.reading, lambda: one.var)
    return Estimate.of_mean(one.x, one.level, other.mean + w * (one.mean - other.mean), lambda: one.var)
