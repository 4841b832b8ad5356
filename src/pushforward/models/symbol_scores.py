"""How likely texts are under a model of symbols, beside the frequencies of their symbols."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.data.tokens import Tokens, Unit
from pushforward.errors import UserError
from pushforward.models.discrete import BOUND_REPEATS, Discrete
from pushforward.models.family import Density
from pushforward.models.scoring import Rule, Scores
from pushforward.numerics.random import Draws
from pushforward.objectives.masked import Blocks

_NAMES = {Unit.CHARACTER: "character", Unit.BYTE: "byte", Unit.TOKEN: "token"}


@dataclass(frozen=True, eq=False)
class ByBound:
    """log P by the bound of a model of symbols, given the classes (N,) of the items where there are some.

    `repeats` random times, or numbers of hidden symbols, for each item; with `blocks`, for each of its blocks. Raises
    UserError for less than one.
    """

    model: Discrete
    labels: Tensor | None = None
    repeats: int = BOUND_REPEATS
    blocks: Blocks | None = None
    discrete: bool = True

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise UserError(f"repeats must be at least 1; got {self.repeats}")

    @property
    def evaluations(self) -> int:
        parts = 1 if self.blocks is None else math.ceil(self.model.sites / self.blocks.size)
        return self.repeats * parts

    def __call__(self, x: Tensor, rows: Tensor, draws: Draws, repeats: int) -> Density:
        labels = None if self.labels is None else self.labels[rows]
        return self.model.bound(self.model.symbols(x), labels, draws, self.repeats, self.blocks)


@torch.no_grad()
def score_texts(
    rule: Rule,
    form: Format,
    x: Tensor,
    train: Tensor,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """log P of texts as symbols x (N, L) by a rule, in nats.

    Beside it: independent symbols with the frequencies of `train` (M, L). Raises UserError for batches below 1.
    """
    coding = form.coding
    assert isinstance(coding, Tokens)
    if batch_size < 1:
        raise UserError(f"batch size must be at least 1; got {batch_size}")
    draws = Draws.of(seed, range(len(x)), "likelihood", x.device)
    parts: list[Density] = []
    for rows in torch.arange(len(x), device=x.device).split(batch_size):
        parts.append(rule(x[rows], rows, draws[rows], 1))
        if progress:
            progress(int(rows[-1]) + 1, len(x))
    nats = torch.cat([part.nats for part in parts]).double().cpu().numpy()
    counts = torch.bincount(train.flatten(), minlength=coding.symbols).double() + 0.5
    unigram = torch.log(counts / counts.sum())[x.cpu()].sum(1)
    bits = None if coding.ends else -nats / (coding.length * math.log(2))
    return Scores(
        nats=nats,
        standard_error=torch.cat([part.standard_error for part in parts]).double().cpu().numpy(),
        dim=coding.length,
        bits_per_dim=bits,
        gaussian=float(unigram.mean()),
        uniform=-coding.length * math.log(coding.symbols),
        evaluations=rule.evaluations,
        method=parts[0].method,
        density=parts[0].of,
        unit=_NAMES[coding.unit],
        baseline="frequencies of symbols",
    )
