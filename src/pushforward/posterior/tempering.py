"""Tempering with weights: a crowd of samples is cooled from the prior to the posterior, and keeps the modes' weights.

Sequential Monte Carlo along a bridge of likelihoods (Del Moral, Doucet & Jasra 2006): the samples of an item start as
draws of the prior, and each cooling multiplies their weights by ℓ(x; colder)/ℓ(x; hotter). The next heat is the one at
which the weights are still worth a given share of the crowd; where they have fallen below half of it, samples are drawn
anew by their weights, and each then makes a move that leaves the law at its heat invariant. Chains alone cannot change
the number of samples in a mode once the modes have parted; weights can. Their sum estimates log p(y) on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.method import guidance_sampler
from pushforward.inverse.rules.gains import is_linear
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import CLEAN
from pushforward.posterior.bridge import Bridge
from pushforward.posterior.metropolis import MetropolisBridge
from pushforward.posterior.resampling import systematic
from pushforward.posterior.reverse import Reverse
from pushforward.posterior.splitting import Splitting
from pushforward.samplers.default import deviation
from pushforward.samplers.step import Observer, Progress

_WANTED, _RATE = 0.6, 1.0
_HOTTEST = 1e4
"""Heats of tested moves above this are not told apart from the prior."""
_BISECTIONS = 25


class Cooled(NamedTuple):
    """Samples (S, B, …), log-weights (S, B) or None where all count alike, log p(y) (B,), and the last acceptance."""

    samples: Tensor
    log_weights: Tensor | None
    log_evidence: Tensor
    accepted: Tensor


@dataclass(frozen=True)
class Tempering:
    """`start` evaluations for draws of the prior, then moves of `inner`: a share `final` of them at the posterior.

    Every item cools at its own pace: by equal steps of log heat to the end, and faster where weights stay worth `keep`
    of what they were. Raises UserError for crowds of fewer than eight, budgets of fewer than eight moves, and
    measurements without noise.
    """

    inner: int = 10
    start: int = 40
    final: float = 0.3
    keep: float = 0.95

    def __post_init__(self) -> None:
        if self.inner < 2 or self.start < 1 or not (0 <= self.final < 1 and 0 < self.keep < 1):
            raise UserError(
                "tempering needs moves of at least two evaluations, one for the prior's draws, and shares between 0 "
                f"and 1; got {self.inner}, {self.start}, {self.final} and {self.keep}"
            )

    def crowd(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Cooled:
        samples, items = x.shape[:2]
        moves = (evaluations - self.start) // self.inner
        if samples < 8 or moves < 8:
            raise UserError(
                f"tempering needs at least 8 samples of each item and {self.start + 8 * self.inner} evaluations; got "
                f"{samples} and {evaluations}"
            )
        flat = x.flatten(0, 1)
        bridge: Bridge = (
            Splitting(likelihood, tuple(x.shape[2:])) if is_linear(likelihood) else MetropolisBridge(likelihood, flat)
        )
        prior = guidance_sampler(denoiser, self.start).sample(denoiser, flat, self.start, draws.at("prior draws"))
        crowd = _Crowd(bridge, Reverse(denoiser, self.inner), prior, samples, items, draws)
        cooling = max(int(moves * (1 - self.final)), 4)
        for i in range(moves):
            threshold = crowd.cool(cooling - i, self.keep)
            crowd.move(i, threshold)
            if observe:
                observe(Progress(i + 1, moves, CLEAN, crowd.x, None))
        return crowd.told()


class _Crowd:
    """The samples of several items, each item at a heat of its own."""

    def __init__(self, bridge: Bridge, reverse: Reverse, x: Tensor, samples: int, items: int, draws: Draws) -> None:
        self.bridge, self.reverse, self.x, self.draws = bridge, reverse, x, draws
        self.samples, self.items = samples, items
        last = bridge.last.expand(samples * items) if bridge.last.ndim == 0 else bridge.last
        self.last = last.unflatten(0, (samples, items))[0]
        self.heat = torch.full_like(self.last, math.inf)
        self.ceiling = self.last * _HOTTEST if bridge.adapts else torch.full_like(self.last, reverse.most)
        self.weights = torch.zeros(samples, items, dtype=torch.float64, device=x.device)
        self.evidence = torch.zeros(items, dtype=torch.float64, device=x.device)
        scale = torch.full_like(self.last, 0.5 * deviation(reverse.denoiser))
        self.scale = scale.clamp(reverse.least, reverse.widest)
        self.accepted = torch.ones(items, dtype=torch.float64, device=x.device)

    def cool(self, left: int, keep: float) -> Tensor:
        """To the next heat. The share of the crowd below which it is to be drawn anew, (B,): all where one arrives."""
        threshold = torch.full_like(self.last, 0.5)
        if bool((self.heat <= self.last).all()):
            return threshold
        seen = self.bridge.seen(self.x)
        before = self._likelihood(seen, self.heat)
        new = self.last if left <= 1 else self._next(seen, before, left, keep)
        total = self.weights + self._likelihood(seen, new) - before
        self.evidence = self.evidence + torch.logsumexp(total, 0) - torch.logsumexp(self.weights, 0)
        arrived = (new <= self.last) & (self.heat > self.last)
        self.heat, self.weights = new, total - torch.logsumexp(total, 0)
        return torch.where(arrived, 2.0, threshold)

    def move(self, i: int, threshold: Tensor) -> None:
        draws = self.draws.at("move", i)
        drawn = systematic(self.weights, draws.at("resample")[: self.items], threshold)
        items = torch.arange(self.items, device=self.x.device)
        self.x = self.x.unflatten(0, (self.samples, self.items))[drawn.chosen, items].flatten(0, 1)
        self.weights = drawn.log_weights
        heat, scale = self.heat.repeat(self.samples), self.scale.repeat(self.samples)
        moved = self.bridge.move(self.reverse, self.x, heat, scale, draws)
        self.x = moved.x
        self.accepted = moved.accepted.unflatten(0, (self.samples, self.items)).mean(0)
        if self.bridge.adapts:
            grown = self.scale * (_RATE * (self.accepted - _WANTED)).exp()
            self.scale = grown.clamp(self.reverse.least, self.reverse.widest)

    def told(self) -> Cooled:
        equal = bool((self.weights == self.weights[:1]).all())
        samples = self.x.unflatten(0, (self.samples, self.items))
        return Cooled(samples, None if equal else self.weights, self.evidence, self.accepted)

    def _likelihood(self, seen: object, heat: Tensor) -> Tensor:
        """(S, B); flat where the heat is ∞."""
        rows = torch.minimum(heat, self.ceiling).repeat(self.samples)
        found = self.bridge.log_prob(seen, rows).unflatten(0, (self.samples, self.items))
        return torch.where(heat.isinf(), 0.0, found)

    def _next(self, seen: object, before: Tensor, left: int, keep: float) -> Tensor:
        """The lower of an equal share of the way and the heat at which `keep` of the weights' worth is left: (B,)."""
        start = torch.minimum(self.heat, self.ceiling)
        even = start * (self.last / start) ** (1 / left)
        low, high = self.last.log(), start.log()
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            enough = self._worth(self._likelihood(seen, middle.exp()) - before) >= keep
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        reached = torch.where(self._worth(self._likelihood(seen, self.last) - before) >= keep, self.last, high.exp())
        # From the prior itself, at the first cooling, all that weights can bear is gone at once.
        return torch.where(self.heat.isinf(), reached, torch.minimum(even, reached))

    def _worth(self, change: Tensor) -> Tensor:
        """(Σ W w)²/Σ W w²: the share of the crowd's worth that weights w = e^change leave (Zhou et al. 2016): (B,)."""
        weights = self.weights - torch.logsumexp(self.weights, 0)
        return (2 * torch.logsumexp(weights + change, 0) - torch.logsumexp(weights + 2 * change, 0)).exp()
