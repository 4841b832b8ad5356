"""What the variational bound of a run says of whole-numbered pictures, term by term."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pushforward.config.rows import rows_of
from pushforward.config.run import Run
from pushforward.config.scoring import labels_for
from pushforward.data.dataset import Dataset
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.variance import WithVariance
from pushforward.errors import UserError
from pushforward.models.decoder import decoder_of
from pushforward.models.denoising import DiffusionGenerator
from pushforward.models.likelihood import bin_width
from pushforward.numerics.random import Draws
from pushforward.objectives.bound import (
    Bound,
    LastVariance,
    noise_last,
    published_last,
    rounding_levels,
    table_levels,
    variational_bound,
)
from pushforward.paths import GaussianPath, Level, Table
from pushforward.samplers.ancestral import FreshNoise, analytic, fixed_large, fixed_small

VARIANCES: dict[str, FreshNoise] = {"analytic": analytic, "fixed-small": fixed_small, "fixed-large": fixed_large}
USUAL_STEPS = 200


@dataclass(frozen=True, eq=False)
class BoundScores:
    """The bound of N items with its terms in nats, D numbers each."""

    terms: Bound
    dim: int
    steps: int
    variance: str

    def __len__(self) -> int:
        return len(self.terms.prior)

    def columns(self) -> dict[str, Tensor]:
        """L_T, Σ L_{t−1}, L_0 and their sum, the bound of −log P: (N,) each, in nats."""
        terms = self.terms
        named = {"prior": terms.prior, "transitions": terms.transitions.sum(1), "decoder": terms.decoder}
        return {**named, "bound": terms.nats}

    def bits(self, nats: float) -> float:
        """Nats per item as bits per dimension."""
        return nats / (self.dim * math.log(2))


def bound(
    run: Run,
    source: str | Path = "test",
    *,
    number: int | None = None,
    label: str | None = None,
    own_labels: bool = False,
    variance: str = "analytic",
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
    data: Dataset | None = None,
) -> BoundScores:
    """−log P(v) ≤ L_T + Σ L_{t−1} + L_0 of pictures v of whole numbers, one draw per level and item.

    Args:
        source, number, label, own_labels, data: as for `likelihood`.
        variance: that of the ancestral sampler whose bound it is, a name of `VARIANCES`; `analytic` is the best for
            the mean that the network gives, and is that which the model has learned, where it has.
        steps: levels, one evaluation each, 200 by default; a table of β has its own.

    Raises:
        UserError: data without whole numbers, a model that is no denoiser of the items, an unknown variance.
    """
    if variance not in VARIANCES:
        raise UserError(f"there is no variance {variance}; possible: {', '.join(VARIANCES)}")
    generator = run.denoising("the variational bound")
    width = bin_width(run.format)
    levels, last = _levels(generator.model.path, width, steps)
    if variance == "analytic" and not generator.model.tells_variance:
        run = run.with_variance()
        generator = run.denoising("the variational bound")
    rows = rows_of(run, source, number, data or run.data())
    labels = labels_for(run, len(rows), label, rows.labels if own_labels else None, own_labels)
    x = rows.x.to(generator.model.device)
    draws = Draws.of(seed, range(len(rows)), "bound", x.device)
    parts = []
    for some in torch.arange(len(x)).split(batch_size):
        denoiser = _denoiser(generator, None if labels is None else labels[some].to(x.device))
        rule, decoder = VARIANCES[variance], decoder_of(run.format)
        parts.append(
            variational_bound(denoiser, x[some], levels, draws[some], variance=rule, decoder=decoder, last=last)
        )
        if progress:
            progress(int(some[-1]) + 1, len(x))
    terms = Bound(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))
    return BoundScores(terms, x[0].numel(), len(levels) - 1, variance)


def _levels(path: GaussianPath, width: float, steps: int | None) -> tuple[Sequence[Level], LastVariance]:
    if isinstance(path, Table):
        if steps is not None:
            raise UserError(f"the bound of a table of β is that of its own {len(path)} levels: leave the steps out")
        return table_levels(path), published_last
    count = USUAL_STEPS if steps is None else steps
    if count < 2:
        raise UserError(f"a bound needs at least two steps; got {count}")
    return rounding_levels(path, width, count), noise_last


def _denoiser(generator: DiffusionGenerator, labels: Tensor | None) -> Denoiser:
    denoiser, table = generator.model.eval().conditioned(labels), generator.variance
    return denoiser if table is None or generator.model.tells_variance else WithVariance(denoiser, table)
