"""One protocol for every way to restore: a denoiser, what was measured, a number of evaluations → draws of x.

A method is a frozen dataclass that knows nothing of the model and of the measurement before `restore`, so that it can
be made by name, tuned and compared. Some bend the denoiser (`Guidance`: a rule and any sampler), some bend the step,
some start elsewhere, some descend an energy; who calls them need not know which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.operators.operator import Shape
from pushforward.numerics.random import Draws
from pushforward.samplers.default import Sampler, Sampling, default_sampler, deviation
from pushforward.samplers.multistep import Multistep, RenewedQuantity
from pushforward.samplers.step import Observer, Progress


class Rule(Protocol):
    """p(x_0 | x_t) → p(x_0 | x_t, y): a frozen rule that makes of a denoiser one that knows the measurement."""

    def __call__(self, denoiser: Denoiser, likelihood: Likelihood, /) -> Denoiser:
        """The denoiser of the posterior, on the same path. Raises UserError for likelihoods it has no answer to."""
        ...


class Method(Protocol):
    """A way to draw from p(x | y): `Guidance`, or any other."""

    def restore(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Tensor:
        """One draw of x for each row of the batch: (B, …) -> (B, …), in the units of the denoiser.

        `x` is a draw of the prior at t_max, σ(t_max) z; a method that starts elsewhere takes its shape, dtype and
        device from it, and may take its noise from it. Row i belongs to item i of the likelihood and to draws[i] alone.
        The network is evaluated at most `evaluations` times (gradients of an evaluation are not counted again).
        Memory does not grow with `evaluations`. `observe` is called after each step. Raises UserError for
        likelihoods, operators and budgets that the method has no answer to, before the first evaluation.
        """
        ...


def guidance_sampler(denoiser: Denoiser, evaluations: int) -> Sampler:
    """The sampler of guidance by default: second order in the reverse SDE, on the grid of the default sampler.

    With a score that is only approximate, the bias of the reverse SDE is about half of the probability flow's.
    """
    scale = deviation(denoiser)
    return Sampler(Multistep(2, RenewedQuantity()), default_sampler(denoiser.path, evaluations, scale).grid)


@dataclass(frozen=True)
class Guidance:
    """A rule that bends the denoiser, and any sampler: by default `guidance_sampler`."""

    rule: Rule
    sampler: Sampling | None = None

    def restore(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Tensor:
        sampler = self.sampler or guidance_sampler(denoiser, evaluations)
        return sampler.sample(self.rule(denoiser, likelihood), x, evaluations, draws, observe)


@torch.no_grad()
def posterior_samples(
    method: Method,
    denoiser: Denoiser,
    likelihood: Likelihood,
    shape: Shape,
    *,
    items: int,
    samples: int = 1,
    evaluations: int = 50,
    seed: int = 0,
    at_once: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    observe: Observer | None = None,
) -> Tensor:
    """Draws of the posterior: (samples, items, *shape), measurements × samples as one batch, or `at_once` rows of it.

    `items` is the number of measurements; the likelihood, and what is bound to the denoiser, have one entry per item
    or one for all. Sample j of item i is the same whatever the number of samples, of items, and of rows at once. The
    observer counts the steps of all batches.
    """
    if items < 1 or samples < 1 or (at_once is not None and at_once < 1):
        raise UserError(f"items, samples and rows at once are at least 1; got {items}, {samples} and {at_once}")
    likelihood.of_items(items)
    draws = _paired(items, samples, seed, device)
    index = torch.arange(items, device=device).repeat(samples)
    found = []
    parts = torch.arange(len(index), device=device).split(at_once or len(index))
    for number, rows in enumerate(parts):
        start = denoiser.path.prior(draws[rows].at("prior").normal(shape, dtype))
        prior, measured = denoiser.rows(index[rows]), likelihood.select(index[rows])
        seen = _part_of(observe, number, len(parts)) if observe else None
        found.append(method.restore(prior, measured, start, evaluations, draws[rows], seen))
    return torch.cat(found).unflatten(0, (samples, items))


def _paired(items: int, samples: int, seed: int, device: torch.device | str) -> Draws:
    """The draws of each sample of each item, samples first: (samples · items)."""
    each = Draws.of(seed, range(items), "posterior", device)
    parts = [each.at("sample", j) for j in range(samples)]
    return Draws(torch.cat([part.base for part in parts]), torch.arange(items * samples, device=device))


def _part_of(observe: Observer, number: int, parts: int) -> Callable[[Progress], None]:
    def shown(progress: Progress) -> None:
        done = number * progress.total + progress.step
        observe(replace(progress, step=done, total=parts * progress.total))

    return shown
