"""T05, T08: the variational bound of the one-pixel world, term by term."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from pushforward.denoisers import Denoiser, Estimate, Mixture, MixtureDenoiser
from pushforward.numerics.random import Draws
from pushforward.objectives import DiscretisedGaussian, noise_last, table_levels, variational_bound
from pushforward.objectives.bound import Steps, decoder_term, prior_term, transition_term
from pushforward.paths import VP, DDIMStrided, Level, UniformLogSNR
from pushforward.samplers import analytic, fixed_large, fixed_small
from pushforward.samplers.ancestral import FreshNoise
from pushforward.verification.check import Check, Finding
from pushforward.verification.worlds import TABLE, gaussian, hermite, largest

BIT = math.log(2)
PIXELS = torch.linspace(-1, 1, 256, dtype=torch.float64)
_SHAPE = torch.exp(-((PIXELS + 0.4) ** 2) / (2 * 0.15**2)) + 0.6 * torch.exp(-((PIXELS - 0.5) ** 2) / (2 * 0.1**2))
MASS = _SHAPE / _SHAPE.sum()
"""One pixel of 256 values: p ∝ N(−0.4, 0.15²) + 0.6 exp(−(x − 0.5)²/(2·0.1²))."""


class OnePixel(Denoiser):
    """E[x_0 | x_t] as a sum over the 256 values."""

    path = TABLE

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        logits = torch.log(MASS) + (level.alpha * x * PIXELS - 0.5 * level.alpha**2 * PIXELS**2) / level.sigma**2
        return Estimate.of_mean(x, level, (torch.softmax(logits, 1) @ PIXELS)[:, None])


@cache
def terms(variance: FreshNoise, nodes: int = 12) -> tuple[float, float, float]:
    """(L_T, ΣL, L_0) in bits, every value with Gauss-Hermite noise; far from the data the terms are smooth in t."""
    noise, q = hermite(nodes)
    x0, z = PIXELS.repeat_interleave(nodes)[:, None], noise.repeat(256, 1)
    weight = (MASS[:, None] * q).reshape(-1)
    levels = table_levels(TABLE)
    steps, denoiser = Steps.of(levels, variance), OnePixel()

    def estimate(k: int) -> Estimate:
        return denoiser.estimate(TABLE.mix(x0, z, levels[k]), levels[k])

    some = [*range(0, 900, 25), *range(900, 999)]
    inner = [float(weight @ transition_term(estimate(k), x0, steps.at(k))) / BIT for k in some]
    total = float(CubicSpline(some, inner)(np.arange(999)).sum())
    first = float(MASS @ prior_term(PIXELS[:, None], levels[0], prior_sd=1.0)) / BIT
    return first, total, float(weight @ decoder_term(estimate(999), x0, steps.at(999))) / BIT


def one_pixel(variance: FreshNoise, published: float) -> Finding:
    """The bound in bits against its published value."""
    prior, inner, decoder = terms(variance)
    total = prior + inner + decoder
    return Finding(total - published, f"{prior:.2e} + {inner:.5f} + {decoder:.5f} = {total:.5f} bits")


def single_terms() -> float:
    """ΣL and L_0 for σ² = β."""
    _, inner, decoder = terms(fixed_large)
    return largest(inner - 4.62330, decoder - 2.50639)


def prior_alone() -> float:
    """L_T, relative."""
    return terms(fixed_large)[0] / 5.96e-6 - 1


def above_entropy(variance: FreshNoise = fixed_large) -> Finding:
    """H, 6.99953 bits; the bound lies above it, by less than one bit."""
    entropy = -float((MASS * MASS.log2()).sum())
    gap = sum(terms(variance)) - entropy
    return Finding(abs(entropy - 6.99953) if 0 < gap < 1 else math.inf, f"H = {entropy:.5f}, gap {gap:.4f} bits")


def kl_by_quadrature() -> float:
    """L_{t−1} at three levels: ∫ q log(q/p) on a grid, from posteriors that are themselves found by quadrature."""
    levels, error = table_levels(TABLE), 0.0
    steps = Steps.of(levels, fixed_large)
    for k in (300, 700, 990):
        t, s = levels[k], levels[k + 1]
        beta = 1 - (t.alpha / s.alpha) ** 2
        x0, x = 0.3, 0.3 * t.alpha + 0.9 * t.sigma
        estimate = OnePixel().estimate(torch.tensor([[x]], dtype=torch.float64), t)
        found = float(transition_term(estimate, torch.tensor([[x0]], dtype=torch.float64), steps.at(k)))
        share = (1 - s.alpha**2) / (1 - t.alpha**2)
        q_mean, p_mean = (
            s.alpha * beta / (1 - t.alpha**2) * clean + (1 - beta) ** 0.5 * share * x
            for clean in (x0, float(estimate.mean))
        )
        q_sd, p_sd = (beta * share) ** 0.5, beta**0.5
        grid = np.linspace(q_mean - 12 * q_sd, q_mean + 12 * q_sd, 20_001)
        log_q = -0.5 * ((grid - q_mean) / q_sd) ** 2 - np.log(q_sd)
        log_p = -0.5 * ((grid - p_mean) / p_sd) ** 2 - np.log(p_sd)
        mass = np.exp(log_q) / np.exp(log_q).sum()
        error = largest(error, found / float(mass @ (log_q - log_p)) - 1)
    return error


def evaluation(copies: int = 8) -> Finding:
    """`variational_bound`, which draws one x_t per level, against the quadrature on 25 levels, in standard errors."""
    levels = DDIMStrided()(TABLE, 25)
    x0 = PIXELS.repeat(copies)[:, None]
    found = variational_bound(OnePixel(), x0, levels, Draws.of(0, range(len(x0))), variance=fixed_large).nats
    weight = MASS.repeat(copies) / copies
    noise, q = hermite(12)
    steps = Steps.of(levels, fixed_large)
    exact = float(MASS @ prior_term(PIXELS[:, None], levels[0]))
    for k in range(25):
        term = transition_term if k < 24 else decoder_term
        x, clean = (
            TABLE.mix(PIXELS.repeat_interleave(12)[:, None], noise.repeat(256, 1), levels[k]),
            PIXELS.repeat_interleave(12),
        )
        value = term(OnePixel().estimate(x, levels[k]), clean[:, None], steps.at(k))
        exact += float((MASS[:, None] * q).reshape(-1) @ value)
    mean = float(weight @ found)
    error = float((weight**2 @ (found - _by_value(found, copies)) ** 2) ** 0.5) * (copies / (copies - 1)) ** 0.5
    return Finding((mean - exact) / error, f"{mean / BIT:.4f} ± {error / BIT:.4f}, exactly {exact / BIT:.4f} bits")


def _by_value(found: Tensor, copies: int) -> Tensor:
    """The mean over the draws of each value of the pixel: what varies about it is the noise alone."""
    return found.reshape(copies, 256).mean(0).repeat(copies)


def bins() -> float:
    """The probabilities of the 256 bins of the decoder sum to one, also in its tails."""
    decoder = DiscretisedGaussian()
    error = 0.0
    for mean, sd in ((0.0, 0.01), (0.93, 0.2), (-1.4, 0.05), (0.3, 3.0)):
        log = decoder(PIXELS, torch.full_like(PIXELS, mean), torch.full_like(PIXELS, sd))
        error = largest(error, float(log.exp().sum()) - 1)
    return error


def tight_on_gaussians() -> float:
    """E[bound] = H + KL(p_T ‖ prior) for Gaussian data with the analytic variance, up to the last step's spread."""
    path = VP(t_min=1e-4)
    denoiser, error = gaussian(path, 0.3, 0.25), 0.0
    points, weight = hermite(3, 2)
    x0, z = 0.3 + 0.5 * points[:, :1], points[:, 1:]
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    for count in (3, 10, 40):
        levels = UniformLogSNR()(path, count)
        steps = Steps.of(levels, analytic, noise_last)
        total = float(weight @ prior_term(x0, levels[0], prior_sd=1.0))
        for k, level in enumerate(levels[:-1]):
            estimate = denoiser.estimate(path.mix(x0, z, level), level)
            if k < count - 1:
                total += float(weight @ transition_term(estimate, x0, steps.at(k)))
            else:
                total += _last(estimate, x0, weight)
        top, var = levels[0], 0.25 * levels[0].alpha ** 2 + levels[0].sigma ** 2
        kl = 0.5 * (var + (0.3 * top.alpha) ** 2 - 1 - math.log(var))
        error = largest(error, total - entropy - kl)
    return error


def _last(estimate: Estimate, x0: Tensor, weight: Tensor) -> float:
    """E[−log N(x_0; E[x_0 | x_1], Var[x_0 | x_1])], the exact last step of Gaussian data."""
    var = torch.as_tensor(estimate.var)
    nats = 0.5 * ((x0 - estimate.mean) ** 2 / var + torch.log(2 * math.pi * var))
    return float(weight @ nats[:, 0])


def one_pixel_oracle() -> float:
    """The empirical oracle of the library, on the 256 values with their weights, against the plain sum."""
    exact = MixtureDenoiser(Mixture.of_points(PIXELS[:, None], MASS), TABLE)
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]
    return largest(*(exact(x, t).mean - OnePixel()(x, t).mean for t in (0.05, 0.3, 0.9)))


CHECKS = (
    Check(
        "one pixel, σ² = β: L_T + ΣL + L_0",
        "T08",
        "bound against the published 7.12969 bits",
        2e-4,
        partial(one_pixel, fixed_large, 7.12969),
    ),
    Check(
        "one pixel, σ² = β̃: L_T + ΣL + L_0",
        "T08",
        "bound against the published 7.71801 bits",
        2e-4,
        partial(one_pixel, fixed_small, 7.71801),
    ),
    Check("one pixel, ΣL and L_0", "T08", "against the published 4.62330 and 2.50639 bits", 2e-4, single_terms),
    Check("one pixel, L_T", "T08", "against the published 5.96e-6 bits, relative", 2e-3, prior_alone),
    Check(
        "the bound lies above the entropy",
        "T05",
        "H against 6.99953 bits; the bound's gap is positive",
        1e-5,
        above_entropy,
    ),
    Check("L_{t−1} is KL(q ‖ p)", "T08", "closed form against ∫ q log q/p on a grid", 1e-7, kl_by_quadrature),
    Check(
        "the bound as it is evaluated",
        "T08",
        "random levels and noise against quadrature, in standard errors",
        4.0,
        evaluation,
    ),
    Check("the decoder's bins sum to one", "T08", "256 probabilities, four means and widths", 1e-9, bins),
    Check(
        "the bound of Gaussian data is tight",
        "T08",
        "analytic variance, 3 to 40 steps, against entropy + KL",
        1e-9,
        tight_on_gaussians,
    ),
    Check(
        "the oracle of one pixel", "T07", "mixture of points against the sum over 256 values", 1e-10, one_pixel_oracle
    ),
)
