"""What the probability flow of a denoiser says of data: log-likelihoods, bits per dimension, and a latent space.

log p(x) = log N(x_1; α m, α² C + σ² I) + log |det ∂x_1/∂x|: the density of the model that the denoiser defines, that
of the data as far as the denoiser is exact (Song et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.data.pixels import Pixels
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.terminal import Moments
from pushforward.denoisers.transport import DEFAULT, Transport, transport
from pushforward.errors import UserError
from pushforward.flows.continuous import FlowSolver
from pushforward.numerics.broadcast import expand
from pushforward.numerics.divergence import EXACT, Divergence
from pushforward.numerics.random import Draws


@dataclass(frozen=True, eq=False)
class LogProb:
    """Log-densities per sample: float64 nats (B,), in model units.

    `standard_error` is that of the divergence's probes: 0 where it is exact, nan where a single probe cannot tell.
    """

    nats: Tensor
    standard_error: Tensor
    evaluations: Tensor
    method: str
    density: str


@dataclass(frozen=True, eq=False)
class BitsPerDim:
    """−log₂ P(v)/D of integer data v: float64 (B,).

    `standard_error` is over the repetitions; for a single one it is that of the probes alone.
    """

    bits: Tensor
    standard_error: Tensor
    nats: Tensor
    evaluations: Tensor
    method: str


Average = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Log-densities (R, B) of R dequantisations -> one per sample and its standard error, each (B,)."""


def mean_of_logs(nats: Tensor) -> tuple[Tensor, Tensor]:
    """The mean: in expectation a lower bound of log P(v), whatever R."""
    return nats.mean(0), nats.std(0, correction=1) / len(nats) ** 0.5


def log_of_mean(nats: Tensor) -> tuple[Tensor, Tensor]:
    """log (1/R) Σ p: a lower bound in expectation that tends to log P(v) as R grows; its error by the delta method."""
    value = torch.logsumexp(nats, 0) - math.log(len(nats))
    return value, torch.exp(nats - value).std(0, correction=1) / len(nats) ** 0.5


@dataclass(frozen=True, eq=False)
class ProbabilityFlow:
    """A denoiser as a density and as an encoder, on its probability flow.

    `moments` are those of the data in model units. `start` and `to_clean` are the data end, see `transport`. `chunk`
    samples are carried at once, which bounds the memory and changes no value. Conditions are bound beforehand, by
    `denoiser.given`.
    """

    denoiser: Denoiser
    moments: Moments
    solver: FlowSolver = DEFAULT
    start: float | None = None
    to_clean: bool = True
    chunk: int = 256

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise UserError(f"a chunk holds at least one sample; got {self.chunk}")
        if not self.moments.scale > 0:
            raise UserError("the data does not vary: all its variances are 0, so it has no density")

    def log_prob(self, x: Tensor, divergence: Divergence = EXACT) -> LogProb:
        """log p(x) in nats for x (B, …) in model units. Raises UserError for the wrong shape or values not finite."""
        self._check(x)
        nats, errors, spent, density = [], [], [], ""
        moments = self.moments.to(x.device)
        for part in _parts(x, self.chunk):
            move = self._transport(part, divergence.rows(part))
            end = move.solve(x[part])
            nats.append(moments.log_prob(end.y, move.last) + end.log_det)
            errors.append(end.standard_error)
            spent.append(end.evaluations)
            density = move.density
        return LogProb(_cat(nats), _cat(errors), _cat(spent), divergence.method, density)

    def bits_per_dim(
        self,
        x: Tensor,
        width: float,
        draws: Draws,
        *,
        repeats: int = 1,
        average: Average = mean_of_logs,
        divergence: Divergence = EXACT,
    ) -> BitsPerDim:
        """Bits per dimension of integers, encoded as x (B, …), that are `width` apart in model units (`bin_width`).

        P(v) = ∫ p over the cell of v, of `width` on every side: log P ≥ E_u log p(x + width·u) + D log width, u uniform
        on (−½, ½)^D. The familiar offset of 7 bits is −log₂ width of 8-bit pixels in [−1, 1].
        """
        if not (math.isfinite(width) and width > 0):
            raise UserError(f"the width of a bin must be a positive number; got {width}")
        if repeats < 1:
            raise UserError(f"at least one dequantisation is needed; got {repeats}")
        if len(draws) != len(x):
            raise UserError(f"there are {len(x)} samples and {len(draws)} keys for their noise; one each is needed")
        found = []
        for i in range(repeats):
            noise = draws.at("dequantise", i).uniform(x.shape[1:], x.dtype) - 0.5
            found.append(self.log_prob(x + width * noise, divergence.at("repeat", i)))
        d = x[0].numel() if len(x) else 1
        nats, error = (
            average(torch.stack([one.nats for one in found]))
            if repeats > 1
            else (found[0].nats, found[0].standard_error)
        )
        nats = nats + d * math.log(width)
        evaluations = torch.stack([one.evaluations for one in found]).sum(0)
        method = f"{found[0].method}, {repeats} uniform dequantisation{'s' if repeats > 1 else ''}"
        return BitsPerDim(-nats / (d * math.log(2)), error / (d * math.log(2)), nats, evaluations, method)

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, …) of data: standard normal where the data is the model's."""
        self._check(x)

        def one(part: Tensor) -> Tensor:
            move = self._transport(part, EXACT)
            return self.moments.to(x.device).whiten(move.push(x[part]), move.last).to(x.dtype)

        return _cat([one(part) for part in _parts(x, self.chunk)])

    def decode(self, z: Tensor) -> Tensor:
        """Data (B, …) of latents, the inverse of `encode` to the accuracy of the solver."""
        self._check(z)

        def one(part: Tensor) -> Tensor:
            move = self._transport(part, EXACT)
            noisy = self.moments.to(z.device).colour(z[part], move.last).to(z.dtype)
            return move.push(noisy, reverse=True)

        return _cat([one(part) for part in _parts(z, self.chunk)])

    def interpolate(self, a: Tensor, b: Tensor, weights: Sequence[float]) -> Tensor:
        """Data between a and b (B, …), through the latents: (len(weights), B, …); 0 gives a, 1 gives b."""
        if a.shape != b.shape:
            raise UserError(f"the ends have shapes {tuple(a.shape)} and {tuple(b.shape)}; they must be the same")
        ends = self.encode(a), self.encode(b)
        return torch.stack([self.decode(spherical(*ends, weight)) for weight in weights])

    def _transport(self, part: Tensor, divergence: Divergence) -> Transport:
        return transport(
            self.denoiser.rows(part),
            self.solver,
            divergence=divergence,
            sigma_data=self.moments.scale,
            start=self.start,
            to_clean=self.to_clean,
        )

    def _check(self, x: Tensor) -> None:
        if x.shape[1:] != self.moments.mean.shape:
            raise UserError(
                f"samples of shape {tuple(x.shape[1:])} were given, and the model is of data of shape "
                f"{tuple(self.moments.mean.shape)}"
            )
        if not len(x):
            raise UserError("no samples were given: the batch is empty")
        finite = x.flatten(1).isfinite().all(1)
        if not bool(finite.all()):
            raise UserError(f"sample {int((~finite).nonzero()[0])} has values that are not finite; remove or fill them")


def spherical(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """The point at `weight` on the arc from a to b (B, …), per sample: norms and so variances are kept.

    (sin((1−w)θ) a + sin(wθ) b)/sin θ for the angle θ between them (Shoemake 1985); straight where θ is 0 or π and there
    is no one arc.
    """
    x, y = (v.flatten(1).double() for v in (a, b))
    # atan2 of these keeps its digits at small angles, where acos of the cosine loses half of them
    u, v = (w / w.norm(dim=1, keepdim=True).clamp(min=1e-300) for w in (x, y))
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))
    sine = torch.sin(angle)
    straight = sine < 1e-7
    safe = torch.where(straight, 1.0, sine)
    first = torch.where(straight, 1 - weight, torch.sin((1 - weight) * angle) / safe)
    second = torch.where(straight, weight, torch.sin(weight * angle) / safe)
    return expand(first, a) * a + expand(second, b) * b


def bin_width(form: Format, step: float | None = None) -> float:
    """How far apart neighbouring integers of images lie in model units, read from the stored transform.

    `step` is their distance in the user's numbers: 1 for integer dtypes, to be given for integers kept as floats.
    Raises UserError for data that is not images, and for floats without a step.
    """
    if not isinstance(form.coding, Pixels):
        raise UserError("bits per dimension are defined for images of integers; for vectors and tables report nats")
    if step is None:
        if not np.issubdtype(form.dtype, np.integer):
            raise UserError(
                f"bits per dimension need integers, and these images are {form.dtype}; if they hold integers or "
                "multiples of a number, give it as `step`"
            )
        step = 1.0
    if not (math.isfinite(step) and step > 0):
        raise UserError(f"the step between neighbouring values must be a positive number; got {step}")
    return step / form.coding.scale


def _parts(x: Tensor, size: int) -> Sequence[Tensor]:
    """The numbers of the samples, in chunks."""
    return torch.arange(len(x), device=x.device).split(size)


def _cat(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
