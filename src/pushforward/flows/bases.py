"""Base densities: what a flow pushes forward. Randomness is counted: the draws are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Base(Protocol):
    """A density on (…) that can be drawn from."""

    @property
    def shape(self) -> torch.Size: ...

    def log_prob(self, z: Tensor) -> Tensor:
        """log π(z) in nats: (B, …) -> (B,)."""
        ...

    def sample(self, draws: Draws) -> Tensor:
        """One sample under each key: (B, …)."""
        ...


def _checked(shape: Sequence[int]) -> torch.Size:
    if not shape or any(size < 1 for size in shape):
        raise UserError(f"A base density needs at least one feature; its shape was given as {tuple(shape)}.")
    return torch.Size(shape)


class _Placed(nn.Module):
    """A location and a log-scale per feature, learned or fixed."""

    location: Tensor
    log_scale: Tensor

    def __init__(self, location: Tensor, scale: Tensor, *, learned: bool) -> None:
        super().__init__()
        _checked(location.shape)
        if not bool(((scale > 0) & scale.isfinite()).all()):
            raise UserError(f"Scales of a base density must be positive and finite; got {scale.min().item():g}.")
        if not bool(location.isfinite().all()):
            raise UserError("The location of a base density must be finite, and one of its numbers is not.")
        for name, value in (("location", location), ("log_scale", scale.log())):
            if learned:
                self.register_parameter(name, nn.Parameter(value.clone()))
            else:
                self.register_buffer(name, value.clone())

    def _standardised(self, z: Tensor) -> Tensor:
        return (z - self.location) * (-self.log_scale).exp()

    def _placed(self, z: Tensor) -> Tensor:
        return self.location + self.log_scale.exp() * z


class Gaussian(_Placed):
    """Independent normals, standard unless a mean and a scale are given: N(mean, scale²)."""

    def __init__(self, mean: Tensor, scale: Tensor, *, learned: bool = False) -> None:
        super().__init__(mean, scale.expand_as(mean), learned=learned)

    @property
    def shape(self) -> torch.Size:
        return self.location.shape

    def log_prob(self, z: Tensor) -> Tensor:
        z = self._standardised(z)
        return -0.5 * sum_per_sample(z * z) - self.log_scale.sum() - self.shape.numel() * HALF_LOG_TAU

    def sample(self, draws: Draws) -> Tensor:
        return self._placed(draws.normal(self.shape, self.location.dtype))


class StandardGaussian(nn.Module):
    """N(0, 1) in each feature."""

    like: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = _checked(shape)
        self.register_buffer("like", torch.empty(0), persistent=False)

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * sum_per_sample(z * z) - self.shape.numel() * HALF_LOG_TAU

    def sample(self, draws: Draws) -> Tensor:
        return draws.normal(self.shape, self.like.dtype)


class Student(_Placed):
    """Independent Student t with `df` > 0 degrees of freedom: tails of power df + 1. `learned` includes df."""

    log_df: Tensor

    def __init__(self, location: Tensor, scale: Tensor, df: float, *, learned: bool = False) -> None:
        super().__init__(location, scale.expand_as(location), learned=learned)
        if not 0 < df < math.inf:
            raise UserError(f"The degrees of freedom of a Student t must be positive and finite; got {df}.")
        log_df = torch.tensor(math.log(df), dtype=location.dtype)
        if learned:
            self.register_parameter("log_df", nn.Parameter(log_df))
        else:
            self.register_buffer("log_df", log_df)

    @property
    def shape(self) -> torch.Size:
        return self.location.shape

    def log_prob(self, z: Tensor) -> Tensor:
        z, df = self._standardised(z), self.log_df.exp()
        half = 0.5 * (df + 1)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * df) - 0.5 * (df.log() + math.log(math.pi))
        return sum_per_sample(constant - half * torch.log1p(z * z / df)) - self.log_scale.sum()

    def sample(self, draws: Draws) -> Tensor:
        """√(df (u^(−2/df) − 1)) cos 2πv (Bailey 1994)."""
        df, dtype = self.log_df.exp(), self.location.dtype
        u, v = (draws.at(part).uniform(self.shape, dtype) for part in ("radius", "angle"))
        radius = (df * torch.expm1(-2 / df * u.log())).sqrt()
        return self._placed(radius * torch.cos(2 * math.pi * v))


class Uniform(nn.Module):
    """Uniform on the box [low, high) in each feature; the log-density is −∞ outside."""

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        _checked(low.shape)
        if low.shape != high.shape or not bool(((low < high) & (high - low).isfinite()).all()):
            raise UserError("A uniform base needs low < high in every feature, both finite and of one shape.")
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())

    @property
    def shape(self) -> torch.Size:
        return self.low.shape

    def log_prob(self, z: Tensor) -> Tensor:
        inside = ((z >= self.low) & (z < self.high)).flatten(1).all(1)
        return torch.where(inside, -(self.high - self.low).log().sum(), -torch.inf)

    def sample(self, draws: Draws) -> Tensor:
        return self.low + (self.high - self.low) * draws.uniform(self.shape, self.low.dtype)


class Mixture(_Placed):
    """Σ_k w_k N(mean_k, scale_k²), with diagonal scales: means and scales (K, …), log-weights (K,)."""

    log_weights: Tensor

    def __init__(self, means: Tensor, scales: Tensor, weights: Tensor | None = None, *, learned: bool = True) -> None:
        super().__init__(means, scales.expand_as(means), learned=learned)
        _checked(means.shape[1:])
        weights = means.new_ones(len(means)) if weights is None else weights
        if weights.shape != means.shape[:1] or not bool((weights > 0).all()):
            raise UserError(f"A mixture of {len(means)} components needs that many positive weights.")
        if learned:
            self.register_parameter("log_weights", nn.Parameter(weights.log()))
        else:
            self.register_buffer("log_weights", weights.log())

    @property
    def shape(self) -> torch.Size:
        return self.location.shape[1:]

    def log_prob(self, z: Tensor) -> Tensor:
        each = self._standardised(z[:, None])
        size = self.log_scale.flatten(1).sum(1) + self.shape.numel() * HALF_LOG_TAU
        log_joint = torch.log_softmax(self.log_weights, 0) - 0.5 * (each * each).flatten(2).sum(2) - size
        return log_joint.logsumexp(1)

    def sample(self, draws: Draws) -> Tensor:
        """Differentiable in means and scales, not in the weights."""
        dtype = self.location.dtype
        ends = torch.softmax(self.log_weights.detach().double(), 0).cumsum(0)
        chosen = torch.searchsorted(ends, draws.at("component").uniform(dtype=torch.float64))
        chosen = chosen.clamp(max=len(ends) - 1)
        z = draws.at("place").normal(self.shape, dtype)
        return self.location[chosen] + self.log_scale.exp()[chosen] * z
