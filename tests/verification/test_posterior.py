"""The checks of posteriors hold, and fail where something wrong is put in their place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from pushforward.inverse.likelihoods.likelihood import normal_like
from pushforward.numerics.broadcast import expand
from pushforward.posterior import Interval, MetropolisBridge, Moved, SplitGibbs, Splitting
from pushforward.verification import posterior


@pytest.mark.parametrize("check", posterior.CHECKS, ids=lambda check: check.name)
def test_holds(check):
    row = check()
    assert row.passed, row


class WholeNoise(Splitting):
    """z with all of ρ²I for its noise, whatever y says of it."""

    def noisy(self, x, rho, draws):
        residual = self.gaussian.residual(x)
        pull = rho**2 / self.sigma**2 * self.operator.adjoint(residual)
        return x + pull + expand(rho, x) * normal_like(x, draws)


class Untested(MetropolisBridge):
    """Moves that are never refused."""

    def move(self, reverse, x, heat, scale, draws):
        z = x + scale[:, None] * draws.at("split").normal_like(x)
        return Moved(reverse(z, scale, draws.at("reverse")), torch.ones(len(x), dtype=torch.float64))


@dataclass(frozen=True)
class Careless(SplitGibbs):
    def bridge(self, likelihood, x):
        return Untested(likelihood, x)


def usual(drawn):
    return Interval(*(torch.quantile(drawn, q, 0) for q in (0.1, 0.9)))


@pytest.mark.parametrize(
    "wrong, bound",
    [
        (lambda: posterior.law_of_z(WholeNoise), 1e-3),
        (lambda: posterior.tested(Careless(12)).error, 1.0),
        (lambda: posterior.ranked_intervals(usual), 3.3),
    ],
    ids=["whole noise", "untested", "usual quantiles"],
)
def test_tells_what_is_wrong(wrong, bound):
    assert abs(wrong()) > bound
