"""How often do intervals hold the truth? Curves over all levels, and a scale that makes them right on held-out data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.posterior.answer import Interval, Posterior

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Curve:
    """The share of values within the central interval of each level, and its standard error over items."""

    levels: tuple[float, ...]
    covered: tuple[float, ...]
    error: tuple[float, ...]

    def at(self, level: float) -> float:
        """The coverage at a level of the curve."""
        return self.covered[self.levels.index(level)]


def coverage(answer: Posterior, truth: Tensor, levels: Sequence[float] = LEVELS) -> Curve:
    """Of truths (B, …), at those of the levels that the number of draws can answer.

    Values of one item depend on one another, so that errors are those of the items' averages. Raises UserError where
    no level can be answered, truth and answer differ in shape, or the truth is not finite.
    """
    _check(truth, answer)
    possible = [level for level in levels if (1 - level) / 2 * (answer.worth + 1) >= 1 - 1e-9]
    if not possible:
        raise UserError(f"{answer.worth} draws are too few for intervals of {min(levels):.0%}: draw more samples")
    shares = [answer.interval(level).holds(truth).double().flatten(1).mean(1) for level in possible]
    error = [float(s.std() / math.sqrt(len(s))) if len(s) > 1 else math.nan for s in shares]
    return Curve(tuple(possible), tuple(float(s.mean()) for s in shares), tuple(error))


@dataclass(frozen=True)
class ConformalScale:
    """Intervals mean ± `scale` · deviation, that hold a share `level` of an item's values, on average over items.

    The guarantee is of items exchangeable with the `items` that it was fitted on, whatever is wrong with the model or
    the sampler: the share is at least `level`, and at most 2/(items + 1) more where values do not tie.
    """

    scale: float
    level: float
    items: int

    @staticmethod
    def fit(answer: Posterior, truth: Tensor, level: float = 0.9) -> ConformalScale:
        """The least scale with (Σ share outside + 1)/(items + 1) ≤ 1 − level (Angelopoulos et al. 2022).

        Raises UserError where there are too few items for any scale, or too many values whose draws are all alike and
        miss the truth, and as `coverage` does.
        """
        if not 0 < level < 1:
            raise UserError(f"the level of an interval lies between 0 and 1; got {level}")
        _check(truth, answer)
        items, needed = len(truth), math.ceil(1 / (1 - level) - 1 - 1e-9)
        if items < needed:
            raise UserError(
                f"a guaranteed coverage of {level:g} needs at least {needed} items whose truth is known; got {items}"
            )
        ratios = _ratios(answer, truth)

        def holds(scale: float) -> bool:
            outside = float((ratios > scale).double().mean(1).sum())
            return (outside + 1) / (items + 1) <= 1 - level + 1e-12

        low, high = 0.0, float(torch.where(ratios.isfinite(), ratios, 0).max()) + 1.0
        if not holds(high):
            alike = float(ratios.isinf().double().mean())
            raise UserError(
                f"no scale gives intervals that hold {level:g}: the draws of {alike:.0%} of all values are alike and "
                "miss the truth, so that their deviation is 0"
            )
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        return ConformalScale(high, level, items)

    def interval(self, answer: Posterior) -> Interval:
        """Of another answer by the same method: (B, …)."""
        half = self.scale * answer.deviation
        return Interval(answer.mean - half, answer.mean + half)


def _check(truth: Tensor, answer: Posterior) -> None:
    if truth.shape != answer.samples.shape[1:]:
        raise UserError(
            f"the truth has the shape {tuple(truth.shape)}, and the answer is of {tuple(answer.samples.shape[1:])}"
        )
    if not bool(torch.isfinite(truth).all()):
        raise UserError("the truth that an answer is compared with is not finite everywhere: leave those items out")


def _ratios(answer: Posterior, truth: Tensor) -> Tensor:
    """|truth − mean|/deviation, (B, values): ∞ where there is no deviation but an error."""
    away, spread = (truth - answer.mean).abs().flatten(1), answer.deviation.flatten(1)
    return torch.where(away <= 0, 0.0, away / spread).double()
