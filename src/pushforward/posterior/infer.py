"""From a question to its answer: any method of restoring, and any that draws an item's samples together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.denoisers.oracle import MixtureDenoiser
from pushforward.denoisers.wrappers import Wrapper
from pushforward.errors import UserError
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.method import Method
from pushforward.inverse.operators.operator import Shape
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import Level
from pushforward.posterior.answer import Posterior
from pushforward.posterior.chains import Chains
from pushforward.samplers.step import Observer, Progress


@dataclass(frozen=True, eq=False)
class Question:
    """A prior, what was measured, and the form of the answer: `items` measurements, each of one item of `shape`."""

    denoiser: Denoiser
    likelihood: Likelihood
    shape: Shape
    items: int
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.items < 1:
            raise UserError(f"a question is of at least one measurement; got items = {self.items}")
        self.likelihood.of_items(self.items)


@runtime_checkable
class ChainMethod(Protocol):
    """A method whose rows are chains, and which tells what was watched of them."""

    def chains(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Chains: ...


class Crowd(Protocol):
    """What a `CrowdMethod` gives: samples (S, B, …) and, where they do not count alike, log-weights (S, B)."""

    @property
    def samples(self) -> Tensor: ...
    @property
    def log_weights(self) -> Tensor | None: ...
    @property
    def log_evidence(self) -> Tensor | None: ...


@runtime_checkable
class CrowdMethod(Protocol):
    """A method in which the samples of an item know of one another: those that weight and resample them."""

    def crowd(
        self,
        denoiser: Denoiser,
        likelihood: Likelihood,
        x: Tensor,
        evaluations: int,
        draws: Draws,
        observe: Observer | None = None,
        /,
    ) -> Crowd:
        """x (S, B, …), as σ(t_max) z; denoiser and likelihood have S·B rows, samples first."""
        ...


def infer(
    method: Method | CrowdMethod,
    question: Question,
    *,
    samples: int = 64,
    evaluations: int = 1000,
    seed: int = 0,
    at_once: int | None = None,
    observe: Observer | None = None,
) -> Posterior:
    """Draws of the posterior of each item, with their diagnostics and their price.

    `at_once` bounds the rows that are computed together; methods that weight samples keep those of an item together.
    The same seed gives the same draws whatever the number of items or rows at once. Raises UserError as the method.
    """
    if samples < 1 or (at_once is not None and at_once < 1):
        raise UserError(f"samples and rows at once are at least 1; got {samples} and {at_once}")
    together = isinstance(method, CrowdMethod)
    index = torch.arange(question.items).repeat(samples)
    if together:
        per_part = question.items if at_once is None else max(1, at_once // samples)
        parts = [(torch.arange(samples)[:, None] * question.items + p).flatten() for p in _split(question, per_part)]
    else:
        parts = list(torch.arange(len(index)).split(at_once or len(index)))
    draws, prior = _paired(question, samples, seed), counted(question.denoiser)
    found = []
    with torch.no_grad():
        for number, rows in enumerate(parts):
            rows = rows.to(question.device)
            part = _Part(question, prior, index.to(question.device)[rows], draws[rows], samples)
            seen = _part_of(observe, number, len(parts)) if observe else None
            found.append(part.crowd(method, evaluations, seen) if together else part.rows(method, evaluations, seen))
    joined = _beside(found) if together else _below(found, samples, question.items)
    return replace(joined, evaluations=prior.counts[0] / len(index), likelihood=question.likelihood)


def _split(question: Question, size: int) -> tuple[Tensor, ...]:
    return torch.arange(question.items).split(size)


@dataclass(frozen=True, eq=False)
class _Part:
    """Some rows of a question: each is a draw of one item."""

    question: Question
    denoiser: Denoiser
    index: Tensor
    draws: Draws
    samples: int

    def _bound(self) -> tuple[Denoiser, Likelihood, Tensor]:
        question = self.question
        start = self.denoiser.path.prior(self.draws.at("prior").normal(question.shape, question.dtype))
        return self.denoiser.rows(self.index), question.likelihood.select(self.index), start

    def rows(self, method: Method | CrowdMethod, evaluations: int, observe: Observer | None) -> Posterior:
        bound = self._bound()
        if isinstance(method, ChainMethod):
            chains = method.chains(*bound, evaluations, self.draws, observe)
            return Posterior(
                chains.x[:, None],
                0.0,
                trace=chains.trace[:, :, None],
                accepted=None if chains.accepted is None else chains.accepted[:, None],
                sigma=None if chains.sigma is None else chains.sigma[:, None],
            )
        assert not isinstance(method, CrowdMethod)
        return Posterior(method.restore(*bound, evaluations, self.draws, observe)[:, None], 0.0)

    def crowd(self, method: Method | CrowdMethod, evaluations: int, observe: Observer | None) -> Posterior:
        assert isinstance(method, CrowdMethod)
        denoiser, likelihood, start = self._bound()
        start = start.unflatten(0, (self.samples, -1))
        found = method.crowd(denoiser, likelihood, start, evaluations, self.draws, observe)
        return Posterior(found.samples, 0.0, log_weights=found.log_weights, log_evidence=found.log_evidence)


@dataclass(frozen=True)
class Counted(Wrapper):
    """A denoiser that counts how many rows it was asked about; what is made of it by `rows` counts along."""

    counts: list[int] = field(default_factory=lambda: [0])

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.counts[0] += len(x)
        return self.inner.estimate(x, level)


@dataclass(frozen=True)
class CountedMixture(MixtureDenoiser):
    """The same of an exact mixture, which stays one: what is known of it in closed form may be used."""

    counts: list[int] = field(default_factory=lambda: [0])

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        self.counts[0] += len(x)
        return super().estimate(x, level)


def counted(denoiser: Denoiser) -> Counted | CountedMixture:
    """The denoiser, with `counts[0]` the rows that it was asked about."""
    if isinstance(denoiser, MixtureDenoiser):
        return CountedMixture(denoiser.mixture, denoiser.path)
    return Counted(denoiser)


def _paired(question: Question, samples: int, seed: int) -> Draws:
    """The draws of each sample of each item, samples first: (samples · items)."""
    each = Draws.of(seed, range(question.items), "posterior", question.device)
    parts = [each.at("sample", j) for j in range(samples)]
    index = torch.arange(question.items * samples, device=question.device)
    return Draws(torch.cat([part.base for part in parts]), index)


def _below(parts: list[Posterior], samples: int, items: int) -> Posterior:
    """Rows (R, 1, …) of all parts, one below the other, as (S, B, …)."""

    def shaped(values: list[Tensor | None], at: int = 0) -> Tensor | None:
        have = [v for v in values if v is not None]
        return torch.cat(have, at).squeeze(at + 1).unflatten(at, (samples, items)) if have else None

    drawn = shaped([p.samples for p in parts])
    assert drawn is not None
    return Posterior(
        drawn,
        0.0,
        trace=shaped([p.trace for p in parts], 1),
        accepted=shaped([p.accepted for p in parts]),
        sigma=shaped([p.sigma for p in parts]),
    )


def _beside(parts: list[Posterior]) -> Posterior:
    """The items of all parts, one beside the other."""
    weighted = any(p.log_weights is not None for p in parts)
    evidence = [p.log_evidence for p in parts if p.log_evidence is not None]
    return Posterior(
        torch.cat([p.samples for p in parts], 1),
        0.0,
        log_weights=torch.cat([_log_weights(p) for p in parts], 1) if weighted else None,
        log_evidence=torch.cat(evidence) if evidence else None,
    )


def _log_weights(part: Posterior) -> Tensor:
    """(S, B); a part whose draws count alike has none of its own."""
    if part.log_weights is not None:
        return part.log_weights
    return torch.full(part.samples.shape[:2], -math.log(part.size), dtype=torch.float64, device=part.samples.device)


def _part_of(observe: Observer, number: int, parts: int) -> Callable[[Progress], None]:
    def shown(progress: Progress) -> None:
        done = number * progress.total + progress.step
        observe(replace(progress, step=done, total=parts * progress.total))

    return shown
