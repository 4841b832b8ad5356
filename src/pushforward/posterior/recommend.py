"""Which method, and how many evaluations? Measured on data that the model itself simulates, where the truth is known.

Methods that are exact but for mixing are tried first, from the cheapest to the dearest, each on the same simulated
measurements. The first whose chains have come to one law, and whose ranks, coverage and residuals are those of a right
posterior, is taken. Where none is, all others are tried, the one of the lowest energy score is taken, and it is said
that its uncertainty is not to be trusted. The energy score (Gneiting & Raftery 2007) is proper: on average no draws
have a lower one than those of the posterior itself.

What answers for a law of its own, as chains through the model's sampler do, is tried on items of that law.

Approximations are no candidates for trust where an exact method has an answer: a bias of a third of a deviation passes
the ranks of two dozen items as often as not. They are judged by ranks alone where nothing exact can be asked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from scipy import stats
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import PushforwardError, UserError
from pushforward.inverse import DDRM, Guidance, Method, PiGDM, Proximal, usual_method
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.operators.operator import Shape
from pushforward.inverse.rules.gains import is_linear
from pushforward.numerics.random import Draws
from pushforward.posterior.answer import Posterior
from pushforward.posterior.checks import label_free
from pushforward.posterior.flow_chains import FlowChains
from pushforward.posterior.gibbs import SplitGibbs
from pushforward.posterior.infer import CrowdMethod, Question, infer
from pushforward.posterior.ranks import ranks_of
from pushforward.posterior.simulation import measured, prior_draws
from pushforward.posterior.tempering import Tempering

Told = Callable[[str, int, int], None]
"""(what is being done, done, total): called on the way."""


@runtime_checkable
class OwnLaw(Protocol):
    """A method that answers for another law than the reverse SDE's, and draws items of it."""

    def prior_draws(
        self, denoiser: Denoiser, shape: Shape, draws: Draws, dtype: torch.dtype = torch.float32, at_once: int = 256
    ) -> Tensor: ...


@dataclass(frozen=True)
class Candidate:
    """A method with its number of evaluations per draw."""

    name: str
    method: Method | CrowdMethod
    evaluations: int

    @property
    def exact(self) -> bool:
        """Whether all that can be wrong with it, given evaluations enough, is mixing."""
        return isinstance(self.method, SplitGibbs | Tempering | FlowChains)


@dataclass(frozen=True)
class Trial:
    """What was measured of a candidate.

    `score` is the energy score over the items' mean, in the prior's unit, lower being better; `coverage` that of
    central 80 % intervals; `ranks`, of that coverage too, and `residuals` the least p-values, corrected for their
    number (None: not asked); `mixing` the largest split-R̂ of all items, where there are chains; `trusted` is False
    for approximations beside methods that are none; `refused` says why a candidate has no answer.
    """

    name: str
    evaluations: int
    score: float = math.inf
    coverage: float = math.nan
    ranks: float = 0.0
    residuals: float | None = None
    mixing: float | None = None
    trusted: bool = True
    seconds: float = 0.0
    refused: str = ""

    @property
    def mixed(self) -> bool:
        """Whether chains, if there are any, have come to one law."""
        return self.mixing is None or self.mixing < _MIXED

    @property
    def suspect(self) -> bool:
        """Whether ranks or residuals are none of a right posterior, at the level of 1 %."""
        return self.ranks < _LEVEL or (self.residuals is not None and self.residuals < _LEVEL)

    @property
    def calibrated(self) -> bool:
        """Whether it may be trusted, and nothing was found against it."""
        return not self.refused and self.trusted and self.mixed and not self.suspect

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.suspect:
            return "its uncertainty is wrong"
        if not self.mixed:
            return f"its chains have not come to one law (split-R̂ {self.mixing:.2f})"
        return "nothing against it" if self.trusted else "an approximation, of which so few items say little"

    def told(self) -> str:
        """One line."""
        if self.refused:
            return f"{self.name} ({self.evaluations}): {self.refused}"
        rest = "" if self.residuals is None else f", of residuals {self.residuals:.2g}"
        return (
            f"{self.name} ({self.evaluations}): energy score {self.score:.4g}, 80 % intervals hold "
            f"{self.coverage:.0%}, p of ranks {self.ranks:.2g}{rest}, {self.seconds:.3g} s: {self.verdict}"
        )


@dataclass(frozen=True)
class Recommendation:
    """The candidate to take, what all that were tried measured, and why."""

    name: str
    evaluations: int
    trials: tuple[Trial, ...]
    reason: str

    @property
    def calibrated(self) -> bool:
        """Whether its uncertainty may be trusted, as far as the simulated data tell."""
        return any(t.calibrated for t in self.trials if t.name == self.name and t.evaluations == self.evaluations)


_LEVEL = 0.01
_ANY = 10**9
_LEAST = 20
_MIXED = 1.1
"""Split-R̂ of the worst of all items: a little above `MIXED`, which is for one item and long chains."""


def usual_candidates(question: Question, most: int = 1000) -> tuple[Candidate, ...]:
    """What has an answer to the likelihood within `most` evaluations: approximations, then exact ones, by price."""
    likelihood = question.likelihood
    exact = isinstance(likelihood, Gaussian) and likelihood.exact
    found: list[Candidate] = []
    if is_linear(likelihood):
        found += [Candidate("ddrm", DDRM(), 20), Candidate("pigdm", Guidance(PiGDM()), 50)]
    elif isinstance(likelihood, Gaussian):
        found += [Candidate("pigdm", Guidance(PiGDM()), 50)]
    else:
        found += [Candidate("default", usual_method(likelihood), 50), Candidate("proximal", Guidance(Proximal()), 100)]
    if not exact:
        found += [Candidate("exact", SplitGibbs(), 300), Candidate("tempering", Tempering(), 1000)]
        found += [Candidate("flow", FlowChains(), 2000)]
    return tuple(c for c in found if c.evaluations <= most)


def recommend(
    question: Question,
    candidates: Sequence[Candidate] | None = None,
    *,
    items: int | None = None,
    samples: int = 19,
    seed: int = 0,
    most: int = 1000,
    truths: int = 100,
    at_once: int | None = 256,
    told: Told | None = None,
) -> Recommendation:
    """The method for questions like this one: its operator, its noise and its prior, on simulated data.

    `items` measurements, at least twenty, are simulated of items that `truths` evaluations draw: by default as many as
    the question has, which is the number where operator, noise or conditions differ from item to item. What the
    question's measurements are is not used. Raises UserError for fewer items, or no candidates.
    """
    items = question.items if items is None else items
    if items < _LEAST or samples < 9:
        raise UserError(
            f"a recommendation is measured on at least {_LEAST} simulated items with 9 draws each; got "
            f"{items} and {samples}"
        )
    tried = usual_candidates(question, most) if candidates is None else tuple(candidates)
    if not tried:
        raise UserError(f"no method answers such a likelihood within {most} evaluations")
    tell = told or _silent
    tell("simulating", 0, len(tried))
    common = _simulated(question, None, items, seed, truths, at_once)
    # Of the usual ones: those that `most` leaves out, in whose place nothing else is to be trusted.
    dearer = [] if candidates is not None else [c for c in usual_candidates(question, _ANY) if c.evaluations > most]
    dearer, trials = [c for c in dearer if c.exact], list[Trial]()
    for i, candidate in enumerate(sorted(tried, key=lambda c: not c.exact)):
        tell(f"trying {candidate.name}", i, len(tried))
        own = isinstance(candidate.method, OwnLaw)
        asked, truth = _simulated(question, candidate, items, seed, truths, at_once) if own else common
        trial = try_out(candidate, asked, truth, samples, seed, at_once)
        # Approximations come last: where an exact method had an answer, and it was wrong, they are no better founded.
        asked_exactly = bool(dearer) or any(_answered_exactly(t, tried) for t in trials)
        trials.append(replace(trial, trusted=candidate.exact or not asked_exactly))
        if trials[-1].calibrated:
            break
    return _chosen(trials, dearer)


def _simulated(
    question: Question, candidate: Candidate | None, items: int, seed: int, truths: int, at_once: int | None
) -> tuple[Question, Tensor]:
    """The question of measurements of items that the candidate's law, or the reverse SDE, draws; and the items."""
    keys, rows = Draws.of(seed, range(items), "recommend", question.device), at_once or items
    if candidate is not None and isinstance(candidate.method, OwnLaw):
        truth = candidate.method.prior_draws(question.denoiser, question.shape, keys, question.dtype, rows)
    else:
        truth = prior_draws(question.denoiser, question.shape, keys, truths, question.dtype, rows)
    return replace(question, likelihood=measured(question.likelihood, truth, keys), items=items), truth


def _answered_exactly(trial: Trial, tried: Sequence[Candidate]) -> bool:
    return not trial.refused and any(c.exact and c.name == trial.name for c in tried)


def try_out(
    candidate: Candidate, question: Question, truth: Tensor, samples: int, seed: int = 0, at_once: int | None = None
) -> Trial:
    """What a candidate makes of measurements of known truths (B, …)."""
    began = time.perf_counter()
    trial = Trial(candidate.name, candidate.evaluations)
    try:
        answer = infer(
            candidate.method,
            question,
            samples=samples,
            evaluations=candidate.evaluations,
            seed=seed,
            at_once=at_once,
        ).resampled()
    except PushforwardError as reason:
        return replace(trial, refused=str(reason))
    held = answer.interval(0.8).holds(truth).double().flatten(1).mean(1)
    p_values = [*ranks_of(answer, truth).p_values().values(), p_of_mean(held, 0.8)]
    rhat = answer.rhat
    if rhat is None and answer.trace is not None:  # chains too short to be judged have shown nothing
        rhat = torch.full((1,), math.inf)
    gaussian = isinstance(question.likelihood, Gaussian) and not question.likelihood.exact
    tests = label_free(answer).tests if gaussian else ()
    return replace(
        trial,
        score=float(energy_score(answer, truth).mean()),
        coverage=float(held.mean()),
        ranks=min(1.0, min(p_values) * len(p_values)),
        residuals=min(1.0, min(t.p_value for t in tests) * len(tests)) if tests else None,
        mixing=None if rhat is None else float(rhat.max()),
        seconds=time.perf_counter() - began,
    )


def p_of_mean(values: Tensor, expected: float) -> float:
    """Student's test of the mean of independent values (B,)."""
    if bool((values == values[0]).all()):
        return 1.0 if float(values[0]) == expected else 0.0
    return float(stats.ttest_1samp(values.cpu().numpy(), expected).pvalue)


def energy_score(answer: Posterior, truth: Tensor) -> Tensor:
    """E‖x − x*‖ − ½ E‖x − x′‖ over draws x, x′ of each item, without bias: (B,)."""
    drawn, size = answer.samples.flatten(2).double(), answer.size
    away = (drawn - truth.flatten(1).double()).norm(dim=2).mean(0)
    between = torch.stack([(drawn - draw).norm(dim=2).sum(0) for draw in drawn]).sum(0)
    return away - 0.5 * between / max(size * (size - 1), 1)


def _chosen(trials: Sequence[Trial], beyond: Sequence[Candidate] = ()) -> Recommendation:
    last = trials[-1]
    if last.calibrated:
        before = [f"{t.name} ({t.evaluations})" for t in trials[:-1]]
        why = "nothing cheaper was tried" if not before else f"{_listed(before)} had something against it"
        reason = (
            f"{last.name} with {last.evaluations} evaluations: on simulated measurements its draws cannot be told from "
            f"those of the posterior; {why}"
        )
        return Recommendation(last.name, last.evaluations, tuple(trials), reason)
    answered = [t for t in trials if not t.refused]
    if not answered:
        raise UserError(f"no method answered: {trials[-1].refused}")
    best = min(answered, key=lambda t: t.score)
    more = ["take more evaluations", *(f"try {c.name} ({c.evaluations})" for c in beyond)]
    reason = (
        f"{best.name} with {best.evaluations} evaluations has the lowest energy score of those tried, but its "
        f"uncertainty is not to be trusted ({best.verdict}), nor is that of the others: {', '.join(more)}, or "
        "scale its intervals by known truths (`calibrate`)"
    )
    return Recommendation(best.name, best.evaluations, tuple(trials), reason)


def _listed(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else ", ".join(unique[:-1]) + " and " + unique[-1]


def _silent(what: str, done: int, total: int) -> None:
    pass
