"""The continuous-time evidence bound of discrete diffusion, with its constant: nats, an upper bound of −log p(x_0).

    −log p(x_0) ≤ KL(q_T(·|x_0) ‖ p_ref) + ∫ E_q Σ_{y ≠ x} [R̂ − R̂₀ + R̂₀ log(R̂₀/R̂)](x, y) dt − E log p(x_0 | x_{t_min}),

R̂ the rates of the chain that the estimates run back, R̂₀ those that know x_0 (Campbell et al. 2022, proposition 2, with
the constant that their code leaves out). With the exact estimates and p_ref = q_T it equals the entropy of the data.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.denoisers.categorical import CategoricalEstimate, JumpDenoiser
from pushforward.numerics.broadcast import expand, sum_per_sample
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.paths.generators import Absorbing
from pushforward.paths.jump import JumpPath
from pushforward.paths.times import Stratified, TimeLaw, UniformTimes

_TINY = 1e-300
EVEN_TIMES: TimeLaw = Stratified(UniformTimes())
"""Times of low discrepancy: over any run of items they cover the path evenly."""


def rate_gap(estimate: CategoricalEstimate, x0: Tensor) -> Tensor:
    """Σ_{y ≠ x} [R̂ − R̂₀ + R̂₀ log(R̂₀/R̂)] summed over sites: the integrand at x_t, per unit of time (B,)."""
    truth = CategoricalEstimate(estimate.path, estimate.x, estimate.level, certain(estimate.path, x0, estimate.outside))
    ours, theirs = estimate.reverse_rates, truth.reverse_rates
    log_ratio = torch.log(theirs.clamp(min=_TINY)) - torch.log(ours.clamp(min=_TINY))
    return sum_per_sample((ours - theirs + theirs * log_ratio).sum(-1))


def masked_gap(estimate: CategoricalEstimate, x0: Tensor) -> Tensor:
    """The same for the absorbing chain in closed form: βα/(1 − α) Σ_masked −log p(x_0 | x_t) (Sahoo et al. 2024)."""
    path, level = estimate.path, estimate.level
    hidden = estimate.x == cast(Absorbing, path.generator).mask
    c = path.total(level)
    weight = path.speed(level) / (torch.expm1(c) if isinstance(c, Tensor) else math.expm1(c))
    nats = hidden_nats(estimate.outside, x0, hidden)
    return cast(Tensor, expand(weight, nats)) * nats if isinstance(weight, Tensor) else weight * nats


def hidden_nats(outside: Tensor, x0: Tensor, hidden: Tensor) -> Tensor:
    """Σ over hidden sites of −log softmax(outside) at x_0: (B,)."""
    nats = functional.cross_entropy(outside.movedim(-1, 1), x0, reduction="none")
    return sum_per_sample(nats * hidden)


def certain(path: JumpPath, x0: Tensor, like: Tensor) -> Tensor:
    """The `outside` of one who knows x_0: 0 there and −∞ elsewhere, (B, …, symbols)."""
    known = functional.one_hot(x0, path.generator.symbols).bool()
    return torch.where(known, 0.0, -torch.inf).to(like)


def auxiliary(estimate: CategoricalEstimate, x0: Tensor) -> Tensor:
    """−log p(x_0 | x_t) summed over sites: the cross-entropy that the bound is trained beside (B,)."""
    log_p = estimate.log_probabilities.gather(-1, x0.unsqueeze(-1)).squeeze(-1)
    return -sum_per_sample(log_p)


def even_times(path: JumpPath, u: Tensor) -> tuple[Tensor, Tensor]:
    """Times that u in [0, 1] spreads evenly in √t, with dt/du: float64 (B,) -> (B,).

    Rates grow like 1/t where few sites are still wrong: in t itself the variance of ∫ … dt would have no bound.
    """
    first, span = path.t_min**0.5, path.t_max**0.5 - path.t_min**0.5
    root = first + span * u
    return (root**2).clamp(path.t_min, path.t_max), 2 * span * root


def jump_loss(denoiser: JumpDenoiser, x0: Tensor, draws: Draws, weight: float = 0.0) -> Tensor:
    """One draw of the bound's integral, over times of low discrepancy, + weight × the mean `auxiliary`: (B,).

    It differs from the bound by terms that estimates do not change. The rates of symbols that are hidden have no peak
    at the data: their times are spread evenly.
    """
    path, masked = denoiser.path, isinstance(denoiser.path.generator, Absorbing)
    t = EVEN_TIMES(cast(Any, path), draws.at("time")).t.to(x0.device)
    length = path.t_max - path.t_min
    t, step = (t, length) if masked else even_times(path, (t - path.t_min) / length)
    level = path.level(t)
    estimate = denoiser.estimate(path.corrupt(x0, level, draws.at("jump")), level)
    gap = (masked_gap if masked else rate_gap)(estimate, x0)
    return step * (gap + weight / length * auxiliary(estimate, x0) if weight else gap)


class BoundTerms(NamedTuple):
    """The three terms of the bound, nats (B,)."""

    prior: Tensor
    path: Tensor
    data: Tensor

    @property
    def total(self) -> Tensor:
        """An upper bound of −log p(x_0), in expectation."""
        return self.prior + self.path + self.data


def jump_bound(denoiser: JumpDenoiser, x0: Tensor, draws: Draws, repeats: int = 16) -> BoundTerms:
    """The bound's terms for items x0: int64 (B, …), the integral by `repeats` times per item, `even_times`.

    p_ref is the law that the chain tends to, where samplers start.
    """
    path, parts = denoiser.path, []
    for i in range(repeats):
        t, step = even_times(path, (draws.at("first").uniform((), torch.float64) + i) / repeats)
        level = path.level(t)
        estimate = denoiser.estimate(path.corrupt(x0, level, draws.at("jump", i)), level)
        parts.append(step * rate_gap(estimate, x0))
    first = path.level(path.t_min)
    end = denoiser.estimate(path.corrupt(x0, first, draws.at("data")), first)
    return BoundTerms(prior_gap(path, x0), torch.stack(parts).mean(0), auxiliary(end, x0))


def prior_gap(path: JumpPath, x0: Tensor, level: Level | None = None) -> Tensor:
    """KL(q_T(·|x_0) ‖ limit) summed over sites, nats (B,): infinite where a mask is not reached for certain."""
    level = path.level(path.t_max) if level is None else level
    at_end = path.generator.push(functional.one_hot(x0, path.generator.symbols).double(), path.total(level))
    limit = path.generator.limit().to(at_end)
    return sum_per_sample((torch.xlogy(at_end, at_end) - torch.xlogy(at_end, limit)).sum(-1))
