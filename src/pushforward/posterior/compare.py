"""Draws beside the exact posterior, where there is one: five measures that separate right from wrong together.

No one of them does alone: draws too wide cover well, draws with wrong weights of modes have the right variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.numerics.random import Draws
from pushforward.posterior.answer import Posterior

_SLICES = 64


@dataclass(frozen=True)
class Comparison:
    """Averages over items.

    `error`: ‖mean − exact mean‖/√tr C; `distance`: sliced Wasserstein above that of exact draws,
    in posterior deviations per value; `variance`: tr Cov over tr C; `coverage`: of the truth by the central 90 %, as
    exact draws of the same number cover it; `misfit`: χ² over that of exact draws (1 where noise is not Gaussian).
    """

    error: float
    distance: float
    variance: float
    coverage: float
    misfit: float

    @property
    def passes(self) -> bool:
        """Error and distance below 0.15, variance within 10 %, coverage within 0.85 and 0.95, χ² within 10 %."""
        return (
            self.error < 0.15
            and self.distance < 0.15
            and abs(self.variance - 1) <= 0.1
            and 0.85 <= self.coverage <= 0.95
            and abs(self.misfit - 1) < 0.1
        )


def compare(answer: Posterior, exact: Tensor, truth: Tensor) -> Comparison:
    """`exact` (R, B, …) are draws of the exact posterior, several times as many as the answer's; truth is (B, …)."""
    answer = answer.resampled()
    size = answer.size
    if len(exact) < 4 * size or exact.shape[1:] != answer.samples.shape[1:]:
        raise UserError(
            f"a comparison needs at least {4 * size} exact draws of the same items; got {tuple(exact.shape)} beside "
            f"{tuple(answer.samples.shape)}"
        )
    drawn, reference = (v.flatten(2).double() for v in (answer.samples, exact[size:]))
    spread = reference.var(0).sum(1).sqrt()
    floor = _sliced(exact[:size].flatten(2).double(), reference, spread)
    held = answer.interval(0.9).holds(truth) if size >= 19 else torch.full_like(truth, math.nan)
    return Comparison(
        float(((drawn.mean(0) - reference.mean(0)).norm(dim=1) / spread).mean()),
        math.sqrt(max(float(_sliced(drawn, reference, spread) - floor), 0.0)),
        float((drawn.var(0).sum(1) / spread**2).mean()),
        float(held.double().mean()),
        _misfit(answer, exact[:size]),
    )


def _misfit(answer: Posterior, exact: Tensor) -> float:
    likelihood = answer.likelihood
    if not isinstance(likelihood, Gaussian):
        return 1.0
    own, other = (torch.stack([likelihood.chi2(x) for x in draws]).mean() for draws in (answer.samples, exact))
    return float(own / other)


def _sliced(drawn: Tensor, reference: Tensor, spread: Tensor) -> Tensor:
    """Mean over items and directions of the squared Wasserstein distance, over tr C/d."""
    dim = drawn.shape[2]
    directions = Draws.of(4, [0], "slices").normal((dim, _SLICES), torch.float64)[0]
    directions = directions / directions.norm(dim=0)
    one, other = ((v @ directions).sort(0).values for v in (drawn, reference))
    levels = (torch.arange(len(one), dtype=torch.float64) + 0.5) / len(one)
    return ((one - torch.quantile(other, levels, 0)).square().mean(0).mean(1) * dim / spread**2).mean()
