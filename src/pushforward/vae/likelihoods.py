"""Likelihoods p(x | z): how the numbers of a decoder are read as a density of x, or as probabilities of its values.

A decoder for items (C, …) gives `count` blocks of C numbers along dimension 1: raw (B, count·C, …). Log-likelihoods are
sums over all coordinates, (B,) in nats, never means: a mean would weigh the divergence by the number of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward.errors import UserError
from pushforward.flows.bases import HALF_LOG_TAU
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.objectives.decoders import DiscretisedGaussian, LogInterval, exact_interval


class Likelihood(Protocol):
    """What a decoder's numbers say of x."""

    @property
    def count(self) -> int:
        """Numbers of the decoder per coordinate."""
        ...

    @property
    def discrete(self) -> bool:
        """Whether it gives probabilities of values, not densities."""
        ...

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p(x | z), summed over coordinates: (B,)."""
        ...

    def mean(self, raw: Tensor) -> Tensor:
        """E[x | z]: (B, *shape)."""
        ...

    def sample(self, raw: Tensor, draws: Draws) -> Tensor:
        """One x under each key: (B, *shape)."""
        ...

    def check(self, x: Tensor) -> None:
        """Raises UserError for values that it gives no probability."""
        ...


# -- how wide ------------------------------------------------------------------------------------------------------


class Spread(Protocol):
    """Location and scale of each coordinate from a decoder's numbers."""

    @property
    def count(self) -> int: ...

    def __call__(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """(location (B, *shape), scale that broadcasts with it)."""
        ...


class SharedScale(nn.Module):
    """One scale for all coordinates and items, fixed or learned: σ-VAE (Rybkin et al. 2021) if learned."""

    log_scale: Tensor

    def __init__(self, scale: float = 1.0, *, learned: bool = True) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise UserError(f"The scale of a decoder must be a positive number; got {scale}.")
        value = torch.tensor(math.log(scale))
        if learned:
            self.register_parameter("log_scale", nn.Parameter(value))
        else:
            self.register_buffer("log_scale", value)
        self.count = 1

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return raw, self.log_scale.exp()


@dataclass(frozen=True)
class EachScale:
    """A scale for each coordinate of each item, from the decoder: at least `lowest`, which keeps densities bounded."""

    lowest: float = 1e-2
    count: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.lowest < math.inf:
            raise UserError(f"The lowest scale of a decoder must be a positive number; got {self.lowest}.")

    def __call__(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        location, free = raw.chunk(2, 1)
        return location, self.lowest + functional.softplus(free)


# -- real numbers --------------------------------------------------------------------------------------------------


class GaussianLikelihood(nn.Module):
    """N(x; location, scale²) of each coordinate, with its constant ½ log 2π."""

    discrete = False

    def __init__(self, spread: Spread | None = None) -> None:
        super().__init__()
        self.spread = SharedScale() if spread is None else spread
        self.count = self.spread.count

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        location, scale = self.spread(raw)
        nats = -0.5 * ((x - location) / scale).square() - scale.log() - HALF_LOG_TAU
        return sum_per_sample(nats)

    def mean(self, raw: Tensor) -> Tensor:
        return self.spread(raw)[0]

    def sample(self, raw: Tensor, draws: Draws) -> Tensor:
        location, scale = self.spread(raw)
        return location + scale * draws.normal_like(location)

    def check(self, x: Tensor) -> None:
        """Every number has a density."""


# -- steps ---------------------------------------------------------------------------------------------------------


def _check_steps(low: float, high: float, bins: int) -> None:
    if not low < high or bins < 2:
        raise UserError(f"Values on steps need low < high and at least two of them; got {low}, {high}, {bins}.")


def _check_on_steps(x: Tensor, low: float, high: float, bins: int) -> None:
    if x.device.type != "cpu":  # looking at values would make an accelerator wait
        return
    place = (x - low) * ((bins - 1) / (high - low))
    wrong = ((place - place.round()).abs() > 1e-2) | (place < -0.5) | (place > bins - 0.5)
    if bool(wrong.any()):
        raise UserError(
            f"The value {float(x[wrong][0]):.6g} is none of the {bins} values from {low:g} to {high:g} in equal steps "
            "that this decoder gives probabilities to; choose one that fits, or a Gaussian decoder for real numbers."
        )


class Noise(NamedTuple):
    """A law on the line, by the log-probabilities of its intervals and by draws."""

    log_interval: LogInterval
    draw: Callable[[Draws, Tensor], Tensor]


def logistic_interval(a: Tensor, b: Tensor) -> Tensor:
    """log P(a < Z < b) of a standard logistic Z: log σ(b) + log σ(−a) + log(1 − e^{a−b}), exact in both tails."""
    return functional.logsigmoid(b) + functional.logsigmoid(-a) + torch.log(-torch.expm1(a - b))


def _logistic(draws: Draws, like: Tensor) -> Tensor:
    return torch.logit(draws.uniform(like.shape[1:], torch.float64)).to(like.dtype)


LOGISTIC = Noise(logistic_interval, _logistic)
"""Z with the distribution function of the logistic sigmoid (Salimans et al. 2017)."""
NORMAL = Noise(exact_interval, lambda draws, like: draws.normal_like(like))


class DiscretisedLikelihood(nn.Module):
    """P of the step that x is, under location + scale·Z: `bins` equal steps from `low` to `high`, the ends open.

    256 steps from −1 to 1 for 8-bit images, 17 for the digits. What it sums to is a probability, so its bound is in
    bits per dimension without dequantisation.
    """

    discrete = True

    def __init__(
        self,
        spread: Spread | None = None,
        *,
        low: float = -1.0,
        high: float = 1.0,
        bins: int = 256,
        noise: Noise = LOGISTIC,
    ) -> None:
        super().__init__()
        _check_steps(low, high, bins)
        self.spread = SharedScale(0.1) if spread is None else spread
        self.count = self.spread.count
        self.density = DiscretisedGaussian(low, high, bins, noise.log_interval)
        self.noise = noise

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        location, scale = self.spread(raw)
        return sum_per_sample(self.density(x, location, scale)).to(raw.dtype)

    def mean(self, raw: Tensor) -> Tensor:
        """The location, within the range."""
        return self.spread(raw)[0].clamp(self.density.low, self.density.high)

    def sample(self, raw: Tensor, draws: Draws) -> Tensor:
        location, scale = self.spread(raw)
        d, x = self.density, location + scale * self.noise.draw(draws, location)
        step = (d.high - d.low) / (d.bins - 1)
        return d.low + step * ((x - d.low) / step).round().clamp(0, d.bins - 1)

    def check(self, x: Tensor) -> None:
        _check_on_steps(x, self.density.low, self.density.high, self.density.bins)


@dataclass(frozen=True)
class Bernoulli:
    """Two values, `low` and `high`: raw is the log-odds of `high`. Others are refused: they have no likelihood."""

    low: float = -1.0
    high: float = 1.0
    count: int = 1
    discrete: bool = True

    def __post_init__(self) -> None:
        _check_steps(self.low, self.high, 2)

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        sign = (2 * x - (self.low + self.high)) / (self.high - self.low)
        return sum_per_sample(functional.logsigmoid(sign * raw))

    def mean(self, raw: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(raw)

    def sample(self, raw: Tensor, draws: Draws) -> Tensor:
        chosen = draws.uniform(raw.shape[1:], raw.dtype) < torch.sigmoid(raw)
        return torch.where(chosen, self.high, self.low).to(raw.dtype)

    def check(self, x: Tensor) -> None:
        if x.device.type != "cpu":
            return
        wrong = (x != self.low) & (x != self.high)
        if bool(wrong.any()):
            raise UserError(
                f"A Bernoulli decoder takes the two values {self.low:g} and {self.high:g}, and an item holds "
                f"{float(x[wrong][0]):.6g}: binarise the data, or choose a decoder for grey levels or real numbers."
            )


@dataclass(frozen=True)
class Categorical:
    """`bins` equal steps from `low` to `high`, a probability for each: raw holds their log-odds, blocks of C."""

    low: float = -1.0
    high: float = 1.0
    bins: int = 256
    discrete: bool = True

    def __post_init__(self) -> None:
        _check_steps(self.low, self.high, self.bins)

    @property
    def count(self) -> int:
        return self.bins

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        step = ((x - self.low) * ((self.bins - 1) / (self.high - self.low))).round().long().clamp(0, self.bins - 1)
        log_p = torch.log_softmax(self._blocks(raw), 1)
        return sum_per_sample(log_p.gather(1, step[:, None])[:, 0])

    def mean(self, raw: Tensor) -> Tensor:
        share = torch.softmax(self._blocks(raw), 1)
        return self._value((share.movedim(1, -1) * torch.arange(self.bins, device=raw.device)).sum(-1))

    def sample(self, raw: Tensor, draws: Draws) -> Tensor:
        ends = torch.softmax(self._blocks(raw).double(), 1).cumsum(1)
        u = draws.uniform((1, *ends.shape[2:]), torch.float64)
        return self._value((ends[:, :-1] < u).sum(1)).to(raw.dtype)

    def check(self, x: Tensor) -> None:
        _check_on_steps(x, self.low, self.high, self.bins)

    def _blocks(self, raw: Tensor) -> Tensor:
        return raw.unflatten(1, (self.bins, -1))

    def _value(self, step: Tensor) -> Tensor:
        return self.low + (self.high - self.low) / (self.bins - 1) * step
