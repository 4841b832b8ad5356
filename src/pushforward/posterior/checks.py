"""What can be checked without a truth: do the residuals of draws look like the noise that they are said to be?

Where x is a draw of p(x | y) and y came from the model's x, the residual y − h(x) of one draw has exactly the law of
the noise. Over items, its size has a χ² law, and its neighbours are uncorrelated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.numerics.broadcast import expand
from pushforward.posterior.answer import Posterior


class Check(NamedTuple):
    """A statistic, what it is expected to be, and the probability of one as far off: small where something is wrong."""

    name: str
    value: float
    expected: float
    p_value: float


@dataclass(frozen=True)
class LabelFree:
    """Tests of one draw of each item, none of which needs a truth."""

    tests: tuple[Check, ...]

    def passes(self, level: float = 0.01) -> bool:
        """Whether no p-value is below `level` shared among the tests."""
        return all(test.p_value >= level / len(self.tests) for test in self.tests)


def label_free(answer: Posterior) -> LabelFree:
    """The size and the whiteness of residuals. Raises UserError where noise is not Gaussian, or σ = 0."""
    gaussian = answer.likelihood
    if not isinstance(gaussian, Gaussian):
        raise UserError("residuals are checked where noise is Gaussian: for other noise, use ranks on simulated data")
    answer = answer.resampled()
    gaussian = gaussian if gaussian.covariance is None else gaussian.whitened()
    # Of each item another draw, so that chance errors of one sampler run do not line up.
    items = answer.samples.shape[1]
    one = answer.samples[torch.arange(items) % answer.size, torch.arange(items)]
    if answer.sigma is not None:  # drawn with x: residuals are those of that noise
        gaussian = replace(gaussian, sigma=answer.sigma[torch.arange(items) % answer.size, torch.arange(items)])
    return LabelFree((size_of_residuals(gaussian, one), *whiteness(gaussian, one)))


def size_of_residuals(gaussian: Gaussian, x: Tensor) -> Check:
    """χ² per number, averaged over items; tested by Kolmogorov's distance of all items from the law of χ²."""
    value = gaussian.chi2(x).double().cpu()
    count = gaussian.count().double().cpu().expand(len(value))
    u = stats.chi2(count.numpy()).cdf((value * count).numpy())
    total = stats.chi2(float(count.sum())).cdf(float((value * count).sum()))
    p = min(float(stats.kstest(u, "uniform").pvalue) if len(u) > 4 else 1.0, 2 * min(total, 1 - total))
    return Check("χ² of residuals", float((value * count).sum() / count.sum()), 1.0, float(min(1.0, 2 * p)))


def whiteness(gaussian: Gaussian, x: Tensor) -> tuple[Check, ...]:
    """The correlation of residuals with their next neighbours along each axis of the measurement longer than one."""
    residual = gaussian.residual(x)
    residual = residual / expand(torch.as_tensor(gaussian.sigma).to(residual.real), residual)
    parts = torch.view_as_real(residual) if residual.is_complex() else residual[..., None]
    there = gaussian.operator.measured(torch.ones_like(residual)).real[..., None].expand_as(parts)
    tests = []
    for axis in range(1, residual.ndim):
        if residual.shape[axis] < 3:
            continue
        here, next_ = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        both = there[here] * there[next_]
        pairs = float(both.sum())
        if pairs < 20:
            continue
        correlation = float((both * parts[here] * parts[next_]).sum()) / pairs
        z = correlation * math.sqrt(pairs)
        tests.append(Check(f"correlation along axis {axis}", correlation, 0.0, float(2 * stats.norm.sf(abs(z)))))
    return tuple(tests)
