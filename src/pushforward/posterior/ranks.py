"""Simulation-based calibration: where does the truth stand among the draws? (Cook et al. 2006; Talts et al. 2018.)

With x ~ p(x), y ~ p(y | x) and draws of p(x | y), truth and draws are exchangeable: the rank of any number f(x, y) of
the truth among those of the draws is uniform. Ranks that pile up in the middle tell draws that are too wide, at both
ends too narrow, at one end a bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.solve import dots, noise_like, squares
from pushforward.numerics.broadcast import sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.posterior.answer import Posterior

_LEAST = 20
"""Simulations below which a test of uniformity says nothing."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks among `draws` others, 0 to `draws`, one column per number watched: (N, Q) with `names` (Q); on the CPU."""

    values: Tensor
    draws: int
    names: tuple[str, ...]

    def uniforms(self, seed: int = 0) -> Tensor:
        """(rank + u)/(draws + 1) with counted u: uniform on (0, 1) where all is right: (N, Q)."""
        u = Draws.of(seed, range(len(self.values)), "ranks").uniform((self.values.shape[1],), torch.float64)
        return (self.values.double() + u) / (self.draws + 1)

    def p_values(self) -> dict[str, float]:
        """Of each number: the smaller of two Kolmogorov tests, doubled: of place and, folded, of width.

        Raises UserError for fewer than twenty simulations.
        """
        if len(self.values) < _LEAST:
            raise UserError(f"ranks are tested from {_LEAST} simulations on; got {len(self.values)}")
        u = self.uniforms().numpy()
        return {name: _p_value(u[:, i]) for i, name in enumerate(self.names)}

    def passes(self, level: float = 0.01) -> bool:
        """Whether no p-value is below `level` shared among the numbers watched (Bonferroni)."""
        return min(self.p_values().values()) >= level / len(self.names)

    def histogram(self, bins: int) -> np.ndarray:
        """Shares of ranks in equal bins, (bins, Q); 1/bins each where all is right."""
        edges = np.linspace(0, 1, bins + 1)
        return np.stack([np.histogram(u, edges)[0] / len(u) for u in self.uniforms().numpy().T], 1)


def _p_value(u: np.ndarray) -> float:
    place = stats.kstest(u, "uniform").pvalue
    width = stats.kstest(np.abs(2 * u - 1), "uniform").pvalue
    return float(min(1.0, 2 * min(place, width)))


def ranks_of(
    answer: Posterior,
    truth: Tensor,
    likelihood: Likelihood | None = None,
    projections: int = 3,
    sigma: Tensor | None = None,
) -> Ranks:
    """Ranks of the sum, the norm, random projections and log p(y | x) of truths (B, …).

    Where the noise level was drawn and the true one, `sigma` (B,), is given, its ranks come last. Among draws that it
    ties with, as where a clipped measurement is the same for all, a truth has any place, by a counted number.
    """
    answer = answer.resampled()
    likelihood = likelihood or answer.likelihood
    own = watched(truth, likelihood, projections)
    others = [watched(draw, likelihood, projections) for draw in answer.samples]
    pairs = {name: (torch.stack([o[name] for o in others]), own[name]) for name in own}
    if sigma is not None and answer.sigma is not None:
        pairs["noise level"] = (answer.sigma, sigma.to(answer.sigma))
    below, equal = (
        torch.stack([how(drawn, true).sum(0) for drawn, true in pairs.values()], 1).cpu()
        for how in (torch.lt, torch.eq)
    )
    share = Draws.of(0, range(len(truth)), "ties").uniform((len(pairs),), torch.float64)
    return Ranks(below + (share * (equal + 1)).long(), answer.size, tuple(pairs))


def watched(x: Tensor, likelihood: Likelihood | None, projections: int) -> Mapping[str, Tensor]:
    """Names and numbers (B,) of items x (B, …)."""
    precise = x.to(torch.promote_types(x.dtype, torch.float64))
    directions = [noise_like(precise[:1], "projection", i) for i in range(projections)]
    found = {"sum": sum_per_sample(precise.real if x.is_complex() else precise), "norm": squares(precise)}
    for i, direction in enumerate(directions):
        found[f"projection {i + 1}"] = dots(precise, direction.expand_as(x))
    # Without noise there is no density of y to be ranked by.
    if likelihood is not None and not (isinstance(likelihood, Gaussian) and likelihood.exact):
        found["log p(y | x)"] = likelihood.log_prob(x).double()
    return found
