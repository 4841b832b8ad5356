"""Do a model's levels of noise tell of one law? Only then is there one posterior, and can any method draw it.

Items drawn from much noise down are, with their measurements, exact draws of p(x | y) if every level is of one p. Then
sweeps of an exact sampler leave their law as it is. A trained network's levels agree as far as it has learned: where
they do not, these sweeps drift, however many there are, and no method that moves from level to level passes its ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.posterior.checks import Check
from pushforward.posterior.gibbs import SplitGibbs


@dataclass(frozen=True)
class Agreement:
    """Of each statistic the mean drift in its own deviations over items, and how likely one as large is by chance."""

    tests: tuple[Check, ...]

    @property
    def p_value(self) -> float:
        """Of all statistics together, by Bonferroni's bound."""
        return min(1.0, len(self.tests) * min(test.p_value for test in self.tests))


@torch.no_grad()
def levels_agree(
    denoiser: Denoiser,
    likelihood: Likelihood,
    x: Tensor,
    draws: Draws,
    *,
    sampler: SplitGibbs | None = None,
    sweeps: int = 20,
    at_once: int = 256,
) -> Agreement:
    """Drift of log p(y | x) and |x|² in sweeps of `sampler` from x (B, …), items of the model that y was measured of.

    Costs `sweeps` · `sampler.inner` evaluations per item. Raises UserError for fewer than eight items, and where the
    sampler has no moves: σ = 0.
    """
    if len(x) < 8:
        raise UserError(f"the levels of a model are compared on at least eight items; got {len(x)}")
    sampler, moved = sampler or SplitGibbs(), []
    for rows in torch.arange(len(x), device=x.device).split(at_once):
        chain = sampler.moved(denoiser.rows(rows), likelihood.select(rows), x[rows], sweeps, draws[rows])
        moved.append(chain.x)
    y = torch.cat(moved)
    before, after = ({"log p(y | x)": likelihood.log_prob(v), "|x|²": sum_per_sample(v.abs().square())} for v in (x, y))
    return Agreement(tuple(_drift(name, before[name], after[name]) for name in before))


def _drift(name: str, before: Tensor, after: Tensor) -> Check:
    change, scale = (after - before).double().cpu(), before.double().cpu().std()
    p = float(stats.ttest_1samp(change.numpy(), 0.0).pvalue) if float(change.std()) > 0 else 1.0
    return Check(name, float(change.mean() / scale.clamp(min=1e-12)), 0.0, p)
