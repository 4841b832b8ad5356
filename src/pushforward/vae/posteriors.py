"""Approximate posteriors q(z | x): how the numbers of an encoder are read as a density that can be drawn from.

The numbers `raw` have the shape (B, outputs), latents (B, latent). Log-densities are (B,), in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pushforward.errors import UserError
from pushforward.flows.bases import HALF_LOG_TAU
from pushforward.flows.bijection import Inverse, Layer
from pushforward.flows.builders import HIDDEN, autoregressive
from pushforward.flows.scalar import Affine
from pushforward.numerics.random import Draws

LIMIT = 10.0
"""Log-scales stay within ± this: e^±10 is beyond what a latent variable needs, and nothing overflows."""


class Latents(NamedTuple):
    """Latents (B, latent) and the log-densities they were drawn with (B,)."""

    z: Tensor
    log_q: Tensor


class Posterior(Protocol):
    """A family of densities of z, one for each row of numbers that an encoder gives."""

    @property
    def latent(self) -> int:
        """How many numbers z has."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers an encoder gives for it."""
        ...

    def sample(self, raw: Tensor, draws: Draws) -> Latents:
        """One z under each key, differentiable in all parameters."""
        ...

    def log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        """log q(z | x): (B,)."""
        ...

    def held_log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        """The same with every parameter of q held fixed: gradients flow through z alone."""
        ...

    def pairwise(self, z: Tensor, raw: Tensor) -> Tensor:
        """log q(z_i | x_j) of latents (B, latent) under the densities of rows (K, outputs): (B, K)."""
        ...

    def centre(self, raw: Tensor) -> Tensor:
        """One z in the middle of q, without randomness: (B, latent)."""
        ...

    def divergence(self, raw: Tensor) -> Tensor | None:
        """KL(q ‖ N(0, 1)) in closed form, in parts that add up: (B, parts); None where there is none."""
        ...


def log_scale(raw: Tensor) -> Tensor:
    """A log-scale from any number: raw near 0, within ±LIMIT far from it."""
    return LIMIT * torch.tanh(raw / LIMIT)


def raw_of(scale: Tensor) -> Tensor:
    """The number that `log_scale` reads as the logarithm of this scale."""
    return LIMIT * torch.atanh(scale.log() / LIMIT)


def check_latent(latent: int) -> None:
    if latent < 1:
        raise UserError(f"A latent space needs at least one dimension; its size was given as {latent}.")


@dataclass(frozen=True)
class Diagonal:
    """N(μ, σ²) with independent coordinates: raw is (μ, log σ)."""

    latent: int

    def __post_init__(self) -> None:
        check_latent(self.latent)

    @property
    def outputs(self) -> int:
        return 2 * self.latent

    def sample(self, raw: Tensor, draws: Draws) -> Latents:
        mean, s = self._read(raw)
        noise = draws.normal_like(mean)
        return Latents(mean + s.exp() * noise, _normal(noise) - s.sum(1))

    def log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        mean, s = self._read(raw)
        return _normal((z - mean) * (-s).exp()) - s.sum(1)

    def held_log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        return self.log_prob(z, raw.detach())

    def pairwise(self, z: Tensor, raw: Tensor) -> Tensor:
        mean, s = self._read(raw)
        noise = (z[:, None] - mean) * (-s).exp()
        return _normal(noise) - s.sum(1)

    def centre(self, raw: Tensor) -> Tensor:
        return self._read(raw)[0]

    def deviation(self, raw: Tensor) -> Tensor:
        """σ: (B, latent)."""
        return self._read(raw)[1].exp()

    def divergence(self, raw: Tensor) -> Tensor:
        """½(μ² + σ² − 1) − log σ of each coordinate."""
        mean, s = self._read(raw)
        return 0.5 * (mean * mean + torch.expm1(2 * s)) - s

    def _read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, s = raw.chunk(2, 1)
        return mean, log_scale(s)


@dataclass(frozen=True)
class FullCovariance:
    """N(μ, LLᵀ), L = diag(σ)(1 + N/latent), N strictly lower triangular: raw is (μ, log σ, N row by row).

    What is below the diagonal is small at first and shrinks with σ: an encoder that has just begun would otherwise
    have to silence d²/2 sources of noise one by one.
    """

    latent: int

    def __post_init__(self) -> None:
        check_latent(self.latent)

    @property
    def outputs(self) -> int:
        return 2 * self.latent + self.latent * (self.latent - 1) // 2

    def sample(self, raw: Tensor, draws: Draws) -> Latents:
        mean, s, factor = self._read(raw)
        noise = draws.normal_like(mean)
        # a sum, not a matrix product, which mixed precision would round to bfloat16
        return Latents(mean + (factor * noise[:, None]).sum(2), _normal(noise) - s.sum(1))

    def log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        mean, s, factor = self._read(raw)
        noise = torch.linalg.solve_triangular(factor, (z - mean)[:, :, None], upper=False)[:, :, 0]
        return _normal(noise) - s.sum(1)

    def held_log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        return self.log_prob(z, raw.detach())

    def pairwise(self, z: Tensor, raw: Tensor) -> Tensor:
        mean, s, factor = self._read(raw)
        columns = (z[:, None] - mean).permute(1, 2, 0)
        noise = torch.linalg.solve_triangular(factor, columns, upper=False).permute(2, 0, 1)
        return _normal(noise) - s.sum(1)

    def centre(self, raw: Tensor) -> Tensor:
        return self._read(raw)[0]

    def divergence(self, raw: Tensor) -> Tensor:
        """½(‖μ‖² + ‖L‖² − d) − Σ log L_ii, in one part."""
        mean, s, factor = self._read(raw)
        squares = mean.square().sum(1) + factor.square().sum((1, 2)) - self.latent
        return (0.5 * squares - s.sum(1))[:, None]

    def numbers(self, mean: Tensor, factor: Tensor) -> Tensor:
        """raw (B, outputs) that is read as these means (B, latent) and this L (latent, latent)."""
        scale = factor.diagonal()
        rows, columns = torch.tril_indices(self.latent, self.latent, -1)
        below = (factor / scale[:, None])[rows, columns] * self.latent
        return torch.cat((mean, torch.cat((raw_of(scale), below)).expand(len(mean), -1)), 1)

    def _read(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, s, below = raw.split([self.latent, self.latent, self.outputs - 2 * self.latent], 1)
        s = log_scale(s)
        rows, columns = torch.tril_indices(self.latent, self.latent, -1, device=raw.device)
        whole = torch.eye(self.latent, dtype=raw.dtype, device=raw.device).repeat(len(raw), 1, 1)
        index = (torch.arange(len(raw), device=raw.device)[:, None], rows, columns)
        return mean, s, s.exp()[:, :, None] * whole.index_put(index, below / self.latent)


class FlowPosterior(nn.Module):
    """z = flow(z_0 ~ N(μ, σ²)) under a condition h of x: raw is (μ, log σ, h) (Rezende & Mohamed 2015).

    `bijection` maps z to z_0, so that its inverse is what sampling runs: for an inverse autoregressive flow (Kingma et
    al. 2016, `iaf_posterior`) that is the fast direction. At its start, the identity, it is `Diagonal`.
    """

    def __init__(self, bijection: Layer, latent: int, context: int) -> None:
        super().__init__()
        check_latent(latent)
        self.bijection, self.start, self.latent, self.context = bijection, Diagonal(latent), latent, context

    @property
    def outputs(self) -> int:
        return self.start.outputs + self.context

    def sample(self, raw: Tensor, draws: Draws) -> Latents:
        raw, context = self._read(raw)
        z0, log_q = self.start.sample(raw, draws)
        z, log_det = self.bijection.inverse(z0, context)
        return Latents(z, log_q - log_det)

    def log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        raw, context = self._read(raw)
        z0, log_det = self.bijection(z, context)
        return self.start.log_prob(z0, raw) + log_det

    def held_log_prob(self, z: Tensor, raw: Tensor) -> Tensor:
        raw, context = self._read(raw.detach())
        held = {name: p.detach() for name, p in self.bijection.named_parameters()}
        z0, log_det = functional_call(self.bijection, held, (z, context))
        return self.start.log_prob(z0, raw) + log_det

    def pairwise(self, z: Tensor, raw: Tensor) -> Tensor:
        count, others = len(z), len(raw)
        return self.log_prob(z.repeat_interleave(others, 0), raw.repeat(count, 1)).view(count, others)

    def centre(self, raw: Tensor) -> Tensor:
        raw, context = self._read(raw)
        return self.bijection.inverse(self.start.centre(raw), context)[0]

    def divergence(self, raw: Tensor) -> None:
        return None

    def _read(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        raw, context = raw.split([self.start.outputs, self.context], 1)
        return raw, context if self.context else None


def iaf_posterior(latent: int, transforms: int = 2, hidden: Sequence[int] = HIDDEN, context: int = 32) -> FlowPosterior:
    """Inverse autoregressive flow: one pass per transform to sample; densities of given z cost `latent` passes."""
    check_latent(latent)
    return FlowPosterior(
        Inverse(autoregressive(latent, Affine(), transforms, hidden, context, start=0.0)), latent, context
    )


def _normal(noise: Tensor) -> Tensor:
    return -0.5 * (noise * noise).sum(-1) - noise.shape[-1] * HALF_LOG_TAU
