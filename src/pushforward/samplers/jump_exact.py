"""Exact simulation, event by event: the reference that steps of a grid are held against.

A chain that runs back has rates that change with time. Uniformisation (thinning) draws events at a rate that is never
exceeded and lets each of them be a jump with the probability that the true rates say; nothing is discretised
(Chen & Ying 2024). A masked chain needs no thinning: the order in which its sites are shown is uniformly random,
whatever the estimates are, so one site after another is drawn (Zheng et al. 2024; the order-agnostic models of
Hoogeboom et al. 2022).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional

from pushforward.denoisers.categorical import JumpDenoiser
from pushforward.errors import NumericalError, UserError
from pushforward.numerics.counting import categorical
from pushforward.numerics.random import Draws
from pushforward.paths.generators import Absorbing
from pushforward.paths.jump import JumpPath


def simulate_forward(path: JumpPath, x0: Tensor, until: float, draws: Draws) -> Tensor:
    """x_t of the forward chain by its events, one after the other: int64 (B, …) -> (B, …).

    In the time c = ∫β the chain has constant rates: each site waits an exponential time and jumps.
    """
    left = torch.full(x0.shape, float(path.total(path.level(until))), dtype=torch.float64, device=x0.device)
    x, event = x0.clone(), 0
    while bool((left > 0).any()):
        rates = path.generator.out(x)
        total = rates.sum(-1)
        u = draws.at(event, "wait").uniform(x.shape[1:], torch.float64)
        left = left + torch.where(total > 0, torch.log(u) / total, -math.inf)
        there = categorical(rates + 1e-300 * functional.one_hot(x, rates.shape[-1]), draws.at(event, "state"))
        x = torch.where(left > 0, there, x)
        event += 1
    return x


def simulate_events(denoiser: JumpDenoiser, x: Tensor, times: Tensor, draws: Draws) -> Tensor:
    """Run the chain back through decreasing times, exactly, and end with a draw of p(x_0 | x): int64 (B, D).

    Between two of the times one bound holds for the rates of all samples: more times, fewer events in vain. For few
    states (its bounds take their transition matrix) and small D. Raises NumericalError where a bound is exceeded.
    """
    path, ends = denoiser.path, times.tolist()
    for i, (t, s) in enumerate(itertools.pairwise(ends)):
        bound = x.shape[1] * max(_bound(path, t), _bound(path, s))
        x = _thinned(denoiser, x, t, s, bound, draws.at(i))
    return categorical(denoiser(x, ends[-1]).probabilities, draws.at("end"))


def _bound(path: JumpPath, t: float) -> float:
    """What the rates of one site never exceed at t: max_x Σ_y R_t(y, x) max_{x_0} q(y | x_0)/q(x | x_0)."""
    level = path.level(t)
    q = path.generator.transition(float(path.total(level)))
    into = path.generator.into(torch.arange(path.generator.states))
    ratios = (q[:, None, :] / q[:, :, None].clamp(min=1e-300)).amax(0)
    return float(path.speed(level)) * float((into * ratios).sum(-1).max())


def _thinned(denoiser: JumpDenoiser, x: Tensor, t: float, s: float, bound: float, draws: Draws) -> Tensor:
    time = torch.full((len(x),), t, dtype=torch.float64, device=x.device)
    event = 0
    while True:
        u = draws.at(event).uniform((2,), torch.float64)
        time = time + torch.log(u[:, 0]) / bound
        going = (time > s).nonzero().squeeze(1)
        if len(going) == 0:
            return x
        rates = denoiser.rows(going)(x[going], time[going]).reverse_rates
        share = rates.flatten(1).sum(1) / bound
        if float(share.max()) > 1 + 1e-6:
            raise NumericalError(f"the rates exceed their bound by a factor of {float(share.max()):.3g}")
        jump = u[going, 1] < share
        flat = categorical(rates.flatten(1) + 1e-300, draws.at(event, "which")[going])
        site, state = flat // rates.shape[-1], flat % rates.shape[-1]
        moved = x[going].scatter(1, site[:, None], state[:, None])
        x = x.index_copy(0, going, torch.where(jump[:, None], moved, x[going]))
        event += 1


def show_one_by_one(denoiser: JumpDenoiser, x: Tensor, draws: Draws) -> Tensor:
    """Fill the masked sites of x: int64 (B, …) one at a time in random order; exact for the estimates given.

    As many evaluations as sites are masked in the sample with the most of them.
    """
    generator = denoiser.path.generator
    if not isinstance(generator, Absorbing):
        raise UserError("sites are shown one by one in masked (absorbing) diffusion alone; use simulate_events")
    shape, flat = x.shape, x.flatten(1)
    sites = flat.shape[1]
    order = draws.at("order").uniform((sites,), torch.float64)
    for i in range(int((flat == generator.mask).sum(1).max())):
        hidden = flat == generator.mask
        going = hidden.any(1).nonzero().squeeze(1)
        site = torch.where(hidden, order, -1.0).argmax(1)[going]
        level = denoiser.path.hiding(hidden.sum(1)[going], sites)
        outside = denoiser.rows(going).outside(flat[going].reshape(-1, *shape[1:]), level)
        laws = torch.softmax(outside.flatten(1, -2)[torch.arange(len(going)), site].double(), -1)
        symbol = categorical(laws, draws.at(i)[going])
        flat = flat.index_copy(0, going, flat[going].scatter(1, site[:, None], symbol[:, None]))
    return flat.reshape(shape)
