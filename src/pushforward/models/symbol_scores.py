"""How likely texts are under a model of symbols, beside the frequencies of their symbols."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.data.format import Format
from pushforward.data.tokens import Tokens, Unit
from pushforward.errors import UserError
from pushforward.models.discrete import BOUND_REPEATS, Discrete
from pushforward.models.family import Density
from pushforward.models.scoring import ByModel, Scores
from pushforward.numerics.random import Draws

_NAMES = {Unit.CHARACTER: "character", Unit.BYTE: "byte", Unit.TOKEN: "token"}


@torch.no_grad()
def score_texts(
    model: Discrete,
    form: Format,
    x: Tensor,
    train: Tensor,
    labels: Tensor | None = None,
    repeats: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """log P of texts as symbols x (N, L), bounded from below, by `repeats` random numbers of hidden symbols each.

    Beside it: independent symbols with the frequencies of `train` (M, L). Raises UserError for counts below 1.
    """
    coding = form.coding
    assert isinstance(coding, Tokens)
    if min(1 if repeats is None else repeats, batch_size) < 1:
        raise UserError(f"repeats and batch size must be at least 1; got {repeats} and {batch_size}")
    repeats = repeats or BOUND_REPEATS
    rule = ByModel(_Bounded(model, repeats), None if labels is None else labels.to(model.device))
    draws = Draws.of(seed, range(len(x)), "likelihood", model.device)
    parts: list[Density] = []
    for rows in torch.arange(len(x)).split(batch_size):
        at = rows.to(model.device)
        parts.append(rule(x[rows].to(model.device), at, draws[at], repeats))
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
        evaluations=repeats * rule.evaluations,
        method=parts[0].method,
        density=parts[0].of,
        unit=_NAMES[coding.unit],
        baseline="frequencies of symbols",
    )


class _Bounded:
    """A model's bound with so many draws, as a family that tells a density."""

    discrete = True

    def __init__(self, model: Discrete, repeats: int) -> None:
        self.model, self.repeats = model, repeats

    def density(self, x: Tensor, labels: Tensor | None, draws: Draws) -> Density:
        return self.model.bound(x, labels, draws, self.repeats)
