"""All that is known of a method's uncertainty: on items that the model drew, and on true ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.posterior.answer import Posterior
from pushforward.posterior.checks import LabelFree, label_free
from pushforward.posterior.coverage import ConformalScale, Curve, coverage
from pushforward.posterior.levels import Agreement
from pushforward.posterior.ranks import Ranks, ranks_of
from pushforward.posterior.stein import Stein

_NORMAL = 1.645
"""Deviations to either side of the mean that hold 90 % of a normal law."""


@dataclass(frozen=True, eq=False)
class OnItems:
    """What was found on one set of items whose truth is known."""

    ranks: Ranks
    curve: Curve
    residuals: LabelFree | None
    """Of one draw per item; None where noise is not Gaussian."""
    stein: Stein | None = None
    """Of all draws, by the model's scores; None where noise is not Gaussian or the operator not linear."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A method on measurements of items that the model drew, and of true items.

    On the model's own items only the sampler can be wrong, or levels of noise that disagree; on true ones the model
    can be, too. `scale` makes intervals of true items right, and `held` is the coverage that it reached on true items
    that it had not seen.
    """

    method: str
    evaluations: float
    samples: int
    items: int
    drawn: OnItems
    true: OnItems
    scale: ConformalScale
    held: float
    plain: float
    """The coverage of mean ± 1.645 deviations on the same items."""
    seconds: float
    levels: Agreement | None = None
    """Whether the model's levels of noise are of one law; None where no exact moves are made for the likelihood."""


def on_items(
    answer: Posterior,
    x: Tensor,
    sigma: Tensor | None = None,
    stein: Stein | None = None,
    *,
    shown: Posterior | None = None,
) -> OnItems:
    """What there is to find of an answer whose truths x (B, …), and noise levels (B,) if drawn, are known.

    `shown` are its draws as items, where those of the answer are their latents.
    """
    likelihood, shown = answer.likelihood, answer if shown is None else shown
    residuals = label_free(answer) if isinstance(likelihood, Gaussian) and not likelihood.exact else None
    return OnItems(ranks_of(shown, x, sigma=sigma), coverage(shown, x), residuals, stein)


def scaled(answer: Posterior, x: Tensor, level: float = 0.9) -> tuple[ConformalScale, float, float]:
    """The scale fitted on all items; the coverage, on the other half, of one fitted on half of them.

    The third number is the coverage of 1.645 deviations there. Raises UserError for fewer items than two fits take.
    """
    answer = answer.resampled()
    half = torch.arange(0, len(x), 2), torch.arange(1, len(x), 2)
    first, second = (Posterior(answer.samples[:, rows], answer.evaluations) for rows in half)
    fitted, other = ConformalScale.fit(first, x[half[0]], level), x[half[1]]
    usual = ConformalScale(_NORMAL, level, 0)
    return (
        ConformalScale.fit(answer, x, level),
        float(fitted.interval(second).holds(other).double().mean()),
        float(usual.interval(second).holds(other).double().mean()),
    )
