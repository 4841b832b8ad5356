"""Functions as denoisers, and denoisers as functions: D(x, σ) of EDM and k-diffusion, and any f(x, t)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.precondition import Prediction
from pushforward.errors import UserError
from pushforward.numerics.broadcast import Scalar, batch_of, expand
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.paths.processes import EDM

_EDM = EDM()


@dataclass(frozen=True, eq=False)
class OfSigma(Denoiser):
    """D(x, σ) -> E[x_0 | x_0 + σz = x], as k-diffusion's wrappers and EDM's networks are: on any path by x/α and σ/α.

    σ is given as (B,). What `given` binds are keyword arguments of D, one row per sample.
    """

    function: Callable[..., Tensor]
    path: GaussianPath = _EDM
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        if not isinstance(level.alpha, Tensor) and level.alpha == 0:
            raise UserError("D(x, σ) says nothing where nothing of the data is left (α = 0): start below t_max")
        sigma = batch_of(level.ratio, len(x), x.device).to(x.dtype)
        mean = self.function(x / expand(level.alpha, x), sigma, **self.conditions)
        return Estimate.of_mean(x, level, _like(mean, x))

    def given(self, **conditions: object) -> Self:
        return replace(self, conditions={**self.conditions, **conditions})

    def rows(self, index: Tensor) -> OfSigma:
        return replace(self, conditions=_rows(self.conditions, index))


@dataclass(frozen=True, eq=False)
class OfFunction(Denoiser):
    """f(x, t) read by a prediction: the noise, the data, v, a velocity, …; x is x_t itself.

    `time` gives the number (B,) that f is told of a level, by default the path's t.
    """

    function: Callable[..., Tensor]
    path: GaussianPath
    prediction: Prediction
    time: Callable[[Level], Scalar] = lambda level: level.t
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        time = batch_of(self.time(level), len(x), x.device).to(x.dtype)
        return Estimate(x, level, _like(self.function(x, time, **self.conditions), x), self.prediction.reading(level))

    def given(self, **conditions: object) -> Self:
        return replace(self, conditions={**self.conditions, **conditions})

    def rows(self, index: Tensor) -> OfFunction:
        return replace(self, conditions=_rows(self.conditions, index))


def as_sigma(denoiser: Denoiser) -> Callable[[Tensor, Tensor], Tensor]:
    """The other way: D(x, σ), σ (B,) or (), that k-diffusion's samplers take, of a denoiser on any path.

    σ outside the path's own levels is an error there as here: raises UserError.
    """
    path = denoiser.path
    ends = path.levels([path.t_min, path.t_max])

    def function(x: Tensor, sigma: Tensor) -> Tensor:
        ratio = sigma.double().reshape(-1).expand(len(x))
        if bool((ratio < ends[0].ratio * (1 - 1e-6)).any() or (ratio > ends[1].ratio * (1 + 1e-6)).any()):
            raise UserError(f"σ lies in {ends[0].ratio:g} … {ends[1].ratio:g} on this path; got {sigma.tolist()}")
        level = path.level(path.time(-torch.log(ratio)))
        return denoiser.estimate(expand(level.alpha, x) * x, level).mean

    return function


def _like(found: Tensor, x: Tensor) -> Tensor:
    if not isinstance(found, Tensor) or found.shape != x.shape:
        said = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"the function was given {tuple(x.shape)} and answered with {said}: one value each is needed")
    return found


def _rows(conditions: Mapping[str, Any], index: Tensor) -> dict[str, Any]:
    return {
        name: value[index] if isinstance(value, Tensor) and value.ndim else value for name, value in conditions.items()
    }
