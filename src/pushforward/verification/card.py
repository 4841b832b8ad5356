"""T23: CARD in closed form: its posterior, the bias of its sampler, votes, and the offsets of its published metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy import stats

from pushforward.card.chain import Gammas, chain_levels, gammas, posterior
from pushforward.denoisers import Mixture, MixtureDenoiser
from pushforward.metrics.coverage import qice_floor
from pushforward.metrics.predictive import KERNEL_OFFSET, kernel_nll
from pushforward.numerics.random import Draws
from pushforward.paths.table import Table, linear_betas
from pushforward.samplers import Ancestral, analytic
from pushforward.samplers.ancestral import DDPM
from pushforward.samplers.default import USUAL_EVALUATIONS, default_sampler
from pushforward.samplers.step import steps_for
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import TABLE, affine, double, gaussian, hermite, largest, moments

SHORT = Table.of_betas(linear_betas(50, 1e-4, 0.4))
"""The table of the paper's shortest toys."""
BIASED = {
    "T = 1000": (TABLE, {4.0: 0.9937, 1.0: 0.9911, 0.25: 0.9845, 0.05: 0.9671, 0.0064: 0.9098, 0.001: 0.7794}, 1e-4),
    "T = 50, β up to 0.4": (SHORT, {1.0: 0.852, 0.05: 0.642, 0.001: 0.183}, 1e-3),
}
"""Final variance over the truth's by the published sampler with the exact ε, and how finely it is known."""


def published_gammas(found: Callable[..., Gammas] = gammas) -> Finding:
    """γ_0, γ_1, γ_2 and β̃ at T = 1000 … 2 against the paper's formulas in β and ᾱ, and Σγ against 1."""
    beta = linear_betas().numpy()
    bar = np.cumprod(1 - beta)
    levels, error, total = chain_levels(TABLE), 0.0, 0.0
    for k in range(1000, 1, -1):
        g = found(levels[1000 - k], levels[1001 - k])
        now, before, b = bar[k - 1], bar[k - 2], beta[k - 1]
        wanted = (
            b * np.sqrt(before) / (1 - now),
            (1 - before) * np.sqrt(1 - b) / (1 - now),
            1 + (np.sqrt(now) - 1) * (np.sqrt(1 - b) + np.sqrt(before)) / (1 - now),
            (1 - before) * b / (1 - now),
        )
        error = largest(error, *(a - w for a, w in zip(g, wanted, strict=True)))
        total = largest(total, sum(g[:3]) - 1)
    return Finding(largest(error, total), f"Σγ − 1 at most {total:.0e}")


def fixed_point() -> float:
    """y_0 = f = y_t stays where it is, in one step of the posterior and through the whole published chain."""
    f = double(0.7, -3.0)[:, None]
    t, s = TABLE.levels([0.5, 0.4])
    moved = posterior(TABLE, f, f, f, s, t).mean - f
    end, _ = affine(DDPM, gaussian(TABLE, 0.0, 1e-12), chain_levels(TABLE), 0.0, 0.0)
    return largest(moved, end)


def chain_ratio(table: Table, variance: float, step: Ancestral = DDPM, mean: float = 0.4) -> tuple[float, float]:
    """(error of the mean, final variance over the truth's) from y_T ~ N(f, I), where y − f ~ N(mean, variance)."""
    end, var = affine(step, gaussian(table, mean, variance), chain_levels(table), 0.0, 1.0)
    return end - mean, var / variance


def bias(name: str, step: Ancestral = DDPM) -> Finding:
    """The published sampler's variance ratios."""
    table, wanted, unit = BIASED[name]
    found = [chain_ratio(table, variance, step)[1] for variance in wanted]
    error = largest(np.array(found) - list(wanted.values())) / unit
    return Finding(error, ", ".join(f"s² = {s:g}: {r:.4f}" for s, r in zip(wanted, found, strict=True)))


def unbiased(variances: tuple[float, ...] = (1.0, 0.25, 0.05), step: Ancestral | None = None) -> Finding:
    """Analytic variance: ratios of the 1000-step chain, whose last step adds no noise."""
    found = [chain_ratio(TABLE, s, step or Ancestral(1.0, analytic))[1] for s in variances]
    return Finding(largest(np.array(found) - 1), ", ".join(f"{ratio:.4f}" for ratio in found))


def few_steps(evaluations: int = USUAL_EVALUATIONS, deviation: float = 1.0) -> Finding:
    """The default sampler: ratios on the table of CARD, told the deviation 1 where responses have another."""
    found = []
    for variance in (4.0, 1.0, 0.25, 0.05, 0.0064):
        sampler = default_sampler(TABLE, evaluations, deviation)
        levels = sampler.grid(TABLE, steps_for(sampler.step, TABLE, sampler.grid, evaluations))
        start = levels[0]
        exact = start.alpha**2 * variance + start.sigma**2
        found.append(moments(sampler.step, gaussian(TABLE, 0.0, variance), levels, 0.0, exact)[1] / variance)
    return Finding(largest(np.array(found) - 1), ", ".join(f"{ratio:.4f}" for ratio in found))


VOTES = (
    ((0.7, 0.2, 0.1), (0.7, 0.2, 0.1)),
    ((0.7, 0.2, 0.1), (0.0, 0.0, 0.0)),
    ((0.5, 0.3, 0.2), (0.9, 0.1, 0.0)),
)
"""Class posteriors w and regressions f that need not agree with them."""


def votes(samples: int = 10_000, evaluations: int = USUAL_EVALUATIONS) -> Finding:
    """Share of samples that end nearest to each class, against w, in standard errors; f is anything."""
    worst, shown = 0.0, []
    for number, (w, f) in enumerate(VOTES):
        corners = torch.eye(3, dtype=torch.float64) - double(*f)
        denoiser = MixtureDenoiser(Mixture.of_points(corners, double(*w)), TABLE)
        draws = Draws.of(number, range(samples), "votes")
        start = TABLE.prior(draws.at("prior").normal((3,), torch.float64))
        sampler = default_sampler(TABLE, evaluations, 0.4)
        end = sampler.sample(denoiser, start, evaluations, draws) + double(*f)
        share = np.bincount(end.argmax(1).numpy(), minlength=3) / samples
        worst = largest(worst, (share - w) / np.sqrt(np.multiply(w, np.subtract(1, w)) / samples))
        shown.append("/".join(f"{x:.3f}" for x in share))
    return Finding(worst, ", ".join(shown))


def kernel_offset(deviation: float = 2.0, samples: int = 4000) -> Finding:
    """The published NLL of a perfect N(0, s²) predictor, by quadrature over y, against its entropy + 0.0966."""
    nodes, weights = hermite(40)
    drawn = deviation * stats.norm.ppf((np.arange(samples) + 0.5) / samples)
    truth = deviation * nodes[:, 0].numpy()
    nats = float(weights.numpy() @ kernel_nll(truth, np.broadcast_to(drawn, (len(truth), samples))))
    entropy = 0.5 * np.log(2 * np.pi * np.e * deviation**2)
    return Finding(nats - entropy - (0.5 * np.log(2) - 0.25), f"{nats:.4f} against an entropy of {entropy:.4f}")


def floors(rows: tuple[int, ...] = (31, 51, 77, 103, 160, 819, 4573)) -> Finding:
    """E|X/n − 1/10| in closed form against the sum over the binomial law."""
    error, shown = 0.0, []
    for n in rows:
        counts = np.arange(n + 1)
        exact = float(stats.binom.pmf(counts, n, 0.1) @ np.abs(counts / n - 0.1))
        error = largest(error, qice_floor(n) / exact - 1)
        shown.append(f"{n} rows: {100 * qice_floor(n):.2f} %")
    return Finding(error, ", ".join(shown))


CHECKS = (
    Check("CARD's posterior", "T23", "γ and β̃ at 999 levels against the paper's; Σγ = 1", 1e-12, published_gammas),
    Check("f is a fixed point", "T23", "y_0 = f = y_t stays, through the whole chain", 1e-6, fixed_point),
    *(
        Check(
            f"the published sampler is biased, {name}",
            "T23",
            "final variance of Gaussian responses with the exact ε, in units of the last known digit",
            1.0,
            partial(bias, name),
        )
        for name in BIASED
    ),
    Check("the analytic variance is not biased", "T23", "final variance of Gaussian responses, 1", 0.01, unbiased),
    Check(
        "nor is the default of 20 evaluations",
        "T23",
        "final variance, s² from 4 to 0.0064 where 1 was expected",
        0.01,
        few_steps,
    ),
    Check("votes are the class posterior for any f", "T23", "10,000 samples, in standard errors", 4.0, votes),
    Check(
        "the published NLL is a kernel's", "T23", f"entropy + {KERNEL_OFFSET:.4f} nats, quadrature", 2e-3, kernel_offset
    ),
    Check("the floor of QICE", "T23", "closed form against the sum over the binomial law", 1e-9, floors),
)
