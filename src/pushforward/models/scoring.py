"""Likelihoods in the user's own units: of integers as probabilities, of real numbers as densities, beside baselines.

With x = (v − offset)/scale per coordinate, log p(v) = log p(x) − Σ log scale. A coordinate that is counted is spread
uniformly over its unit cell before, which makes this a lower bound, in expectation, of the log-probability of v.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pushforward.data.columns import Columns
from pushforward.data.format import Format, Kind
from pushforward.data.numbers import is_integer
from pushforward.data.pairing import Pairing
from pushforward.data.tokens import Tokens
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.terminal import Moments
from pushforward.errors import UserError
from pushforward.flows.continuous import FlowSolver
from pushforward.models.family import Density, HasDensity
from pushforward.models.likelihood import ProbabilityFlow
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.divergence import Divergence, Exact, Hutchinson
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN

EXACT_UP_TO = 32
"""Coordinates for which the divergence is computed exactly unless probes are asked for."""
DRAWS = 4
"""Of probes beyond that, and of places within cells of whole numbers: with one, no item's own error could be told."""


@dataclass(frozen=True, eq=False)
class Units:
    """How the user's numbers lie in model units: scales and cells per coordinate (*shape), 0 where not counted."""

    scale: Tensor
    cell: Tensor
    uniform: float
    """log p of the uniform law on the range of the data."""

    @staticmethod
    def of(form: Format) -> Units:
        coding = form.coding
        if isinstance(coding, Tokens):
            raise UserError("texts have no units of numbers; their likelihood is that of their symbols")
        if isinstance(coding, Pairing):
            raise UserError(
                "this run predicts a response: how likely held-out responses are is among the figures of `evaluate RUN`"
            )
        if isinstance(coding, Columns):
            at = coding.varying
            counted = torch.tensor([is_integer(coding.dtypes[i]) for i in at])
            scale = torch.tensor(coding.scale, dtype=torch.float64)
            span = torch.tensor([coding.high[i] - coding.low[i] for i in at], dtype=torch.float64) + counted
        else:
            counted = torch.full(form.shape, is_integer(coding.dtype))
            scale = torch.full(form.shape, coding.scale, dtype=torch.float64)
            span = torch.full(form.shape, coding.high - coding.low, dtype=torch.float64) + counted
        cell = torch.where(counted, 1 / scale, 0.0)
        return Units(scale, cell, -float(torch.log(span.clamp(min=1e-300)).sum()))

    @property
    def log_jacobian(self) -> float:
        """log |dx/dv| = −Σ log scale."""
        return -float(torch.log(self.scale).sum())

    @property
    def counted(self) -> bool:
        """Whether every coordinate is counted, so that bits per dimension have a meaning."""
        return bool((self.cell > 0).all())

    def spread(self, x: Tensor, draws: Draws) -> Tensor:
        """x (B, *shape) with every counted coordinate spread over its cell."""
        noise = draws.at("dequantise").uniform(x.shape[1:], torch.float32).to(x) - 0.5
        return x + self.cell.to(x) * noise


@dataclass(frozen=True, eq=False)
class Scores:
    """log p of each item in the user's units: nats (N,) with its standard error, and what they are held against.

    `standard_error` is that of random probes and repeated cells: 0 where neither is random, nan where one draw cannot
    tell. `bits_per_dim` is there for images of integers, and for texts per `unit`. Baselines are means over the same
    items, in nats; `baseline` is what `gaussian` is of.
    """

    nats: np.ndarray
    standard_error: np.ndarray
    dim: int
    bits_per_dim: np.ndarray | None
    gaussian: float
    uniform: float
    evaluations: int
    method: str
    density: str
    unit: str = "dimension"
    baseline: str = "a Gaussian of the training data"

    def __len__(self) -> int:
        return len(self.nats)

    @property
    def mean(self) -> float:
        """The mean of log p over the items, nats."""
        return float(self.nats.mean())

    @property
    def error(self) -> float:
        """Its standard error over the items; nan for one item."""
        return float(self.nats.std(ddof=1) / math.sqrt(len(self.nats))) if len(self.nats) > 1 else math.nan

    def bits(self, nats: float) -> float:
        """Nats as bits per dimension: −nats/(D log 2)."""
        return -nats / (self.dim * math.log(2))


def moments_of(x: Tensor, units: Units) -> Moments:
    """Mean and covariance of training items (N, *shape) with their cells: full where there are items enough for it."""
    flat = x.double().flatten(1)
    full = len(x) >= 4 * flat.shape[1] and flat.shape[1] <= 2048
    found = Moments.of_samples(x, full=full)
    floor = units.cell.flatten() ** 2 / 12 + 1e-6 * found.scale**2  # constant pixels have no width of their own
    if full:
        return Moments.of(x.double().mean(0), torch.cov(flat.T).reshape(len(floor), -1) + torch.diag(floor))
    return Moments.of(x.double().mean(0), x.double().var(0) + floor.reshape(x.shape[1:]))


def solver_of(evaluations: int) -> FlowSolver:
    """The fixed-step solver that spends this many evaluations. Raises UserError below 4."""
    if evaluations < 4:
        raise UserError(f"a likelihood takes at least 4 evaluations of the network; got {evaluations}")
    return Adams(evaluations - 1, order=3, times=Bunched(-0.3))


def divergence_of(shape: Sequence[int], probes: int | None, repeats: int, draws: Draws) -> Divergence:
    """Exact in few dimensions, else by random probes, `DRAWS` over all repeats. Raises UserError for probes < 1."""
    dim, chunk = math.prod(shape), 1 if len(shape) > 1 else 16  # torch cannot batch derivatives of convolutions
    if probes is not None and probes < 1:
        raise UserError(f"the number of random probes must be at least 1; got {probes}")
    if probes is None and dim <= EXACT_UP_TO:
        return Exact(chunk)
    return Hutchinson(draws, probes or max(1, DRAWS // repeats), chunk=chunk)


class Rule(Protocol):
    """How items are scored: x (B, *shape) in model units, which rows of the whole, as one of `repeats` times."""

    @property
    def discrete(self) -> bool:
        """Whether it scores whole numbers as such, so that they are not to be spread over their cells."""
        ...

    @property
    def evaluations(self) -> int:
        """Of the network per item."""
        ...

    def __call__(self, x: Tensor, rows: Tensor, draws: Draws, repeats: int) -> Density: ...


@dataclass(frozen=True, eq=False)
class ByFlow:
    """log p by the probability flow of a denoiser with its conditions bound."""

    denoiser: Denoiser
    moments: Moments
    evaluations: int = 100
    probes: int | None = None
    chunk: int = 256
    discrete: bool = False

    def __call__(self, x: Tensor, rows: Tensor, draws: Draws, repeats: int) -> Density:
        flow = ProbabilityFlow(self.denoiser.rows(rows), self.moments, solver_of(self.evaluations), chunk=self.chunk)
        found = flow.log_prob(x, divergence_of(x.shape[1:], self.probes, repeats, draws.at("probes")))
        return Density(found.nats, found.standard_error, found.method, found.density)


@dataclass(frozen=True, eq=False)
class ByModel:
    """log p as a family itself tells it: given the classes (N,) of the items, or summed over classes of these shares.

    `shares` (C,) are of a model that knows classes, asked for items whose classes are not given.
    """

    model: HasDensity
    labels: Tensor | None = None
    shares: Tensor | None = None

    @property
    def evaluations(self) -> int:
        return 1 if self.labels is not None or self.shares is None else len(self.shares)

    @property
    def discrete(self) -> bool:
        return self.model.discrete

    def __call__(self, x: Tensor, rows: Tensor, draws: Draws, repeats: int) -> Density:
        if self.labels is not None or self.shares is None:
            return self.model.density(x, None if self.labels is None else self.labels[rows], draws)
        parts = [
            self.model.density(x, torch.full((len(x),), label, device=x.device), draws.at("class", label))
            for label in range(len(self.shares))
        ]
        joint = torch.stack([part.nats for part in parts]).double() + self.shares.double().log().to(x.device)[:, None]
        nats = torch.logsumexp(joint, 0)
        errors = torch.stack([part.standard_error for part in parts]).double() * torch.exp(joint - nats)
        return Density(nats, errors.square().sum(0).sqrt(), parts[0].method, f"{parts[0].of}, summed over classes")


@torch.no_grad()
def score_rows(
    rule: Rule,
    form: Format,
    moments: Moments,
    x: Tensor,
    *,
    repeats: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """log p of encoded items x (N, *shape) by a rule, in the user's units.

    Item i has the same draws alone or among others. Raises UserError for counts below 1 and items that do not fit.
    """
    units, dim = Units.of(form), x[0].numel()
    repeats = (DRAWS if bool((units.cell > 0).any()) else 1) if repeats is None else repeats
    if min(repeats, batch_size) < 1:
        raise UserError(f"repeats and batch size must be at least 1; got {repeats} and {batch_size}")
    repeats = 1 if rule.discrete else repeats
    draws = Draws.of(seed, range(len(x)), "likelihood", x.device)
    parts: list[Density] = []
    for rows in torch.arange(len(x), device=x.device).split(batch_size):
        parts.append(_batch(rule, units, x[rows], rows, draws[rows], repeats))
        if progress:
            progress(int(rows[-1]) + 1, len(x))
    jacobian = 0.0 if rule.discrete else units.log_jacobian
    found = (torch.cat([part.nats for part in parts]).double() + jacobian).cpu().numpy()
    return Scores(
        nats=found,
        standard_error=torch.cat([part.standard_error for part in parts]).double().cpu().numpy(),
        dim=dim,
        bits_per_dim=-found / (dim * math.log(2)) if form.kind is Kind.IMAGE and units.counted else None,
        gaussian=float(moments.log_prob(units.spread(x, draws).cpu(), CLEAN).mean()) + units.log_jacobian,
        uniform=units.uniform,
        evaluations=rule.evaluations * repeats,
        method=parts[0].method,
        density=parts[0].of,
    )


def _batch(rule: Rule, units: Units, x: Tensor, rows: Tensor, draws: Draws, repeats: int) -> Density:
    """The score of one batch, the mean over repeated cells."""
    if rule.discrete:
        return rule(x, rows, draws, 1)
    found = [
        rule(units.spread(x, again), rows, again, repeats) for again in (draws.at("repeat", i) for i in range(repeats))
    ]
    first, values = found[0], torch.stack([one.nats for one in found])
    random_cells = bool((units.cell > 0).any())
    cells = f", {repeats} uniform dequantisation{'s' if repeats > 1 else ''}" if random_cells else ""
    if repeats > 1:
        error = values.std(0) / math.sqrt(repeats)
    else:  # one cell cannot tell what another would have given
        error = first.standard_error + (math.nan if random_cells else 0.0)
    return Density(values.mean(0), error, first.method + cells, first.of)
