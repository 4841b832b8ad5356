"""CARD's chain on a response y around a regression f(x), as the table's chain on the residual y − f (Han et al. 2022).

q(y_t | y_0, x) = N(√ᾱ_t y_0 + (1 − √ᾱ_t) f, (1 − ᾱ_t) I) says of the residual r = y − f what the variance-preserving
table says of any data, r_t = √ᾱ_t r_0 + σ_t z. So the posterior of the paper is that of the table, moved by f:

    E[y_s | y_t, y_0] = f + a (y_t − f) + b (y_0 − f) = γ_0 y_0 + γ_1 y_t + γ_2 f,    γ_0 = b, γ_1 = a, γ_2 = 1 − a − b.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pushforward.paths.gaussian import CLEAN, GaussianPath, Level, Posterior, posterior_scales
from pushforward.paths.table import Table


class Gammas(NamedTuple):
    """Weights of y_0, y_t and f in the mean of q(y_s | y_t, y_0, x), and its variance."""

    of_clean: float
    of_state: float
    of_mean: float
    var: float


def gammas(t: Level, s: Level) -> Gammas:
    """The published weights between two levels; they sum to one because a residual of 0 stays 0."""
    along_state, along_clean, var = posterior_scales(s, t)
    return Gammas(float(along_clean), float(along_state), float(1 - along_clean - along_state), float(var))


def chain_levels(table: Table) -> tuple[Level, ...]:
    """The levels T … 1 of a table and clean data, where the published chain ends with its estimate of y_0."""
    return (*(table.level(k / len(table)) for k in range(len(table), 0, -1)), CLEAN)


def corrupt(path: GaussianPath, y0: Tensor, mean: Tensor, z: Tensor, t: Level) -> Tensor:
    """y_t = f + α(y_0 − f) + σz: (B, R)."""
    return mean + path.mix(y0 - mean, z, t)


def posterior(path: GaussianPath, y0: Tensor, y: Tensor, mean: Tensor, s: Level, t: Level) -> Posterior:
    """q(y_s | y_t, y_0, x): that of the residuals, moved back by f."""
    found = path.posterior(y0 - mean, y - mean, s, t)
    return Posterior(found.mean + mean, found.var)
