"""Which method, and how many evaluations? Measured on data that the model itself simulates, where the truth is known.

Candidates are tried from the cheapest to the dearest, each on the same simulated measurements. The first whose ranks
and residuals are those of a right posterior is taken. Where none is, the one of the lowest energy score is, and it is
said that its uncertainty is not to be trusted. The energy score (Gneiting & Raftery 2007) is proper: on average no
draws have a lower one than those of the posterior itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward.errors import PushforwardError, UserError
from pushforward.inverse import DDRM, Guidance, Method, PiGDM, Proximal, usual_method
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.rules.gains import is_linear
from pushforward.numerics.random import Draws
from pushforward.posterior.answer import Posterior
from pushforward.posterior.checks import label_free
from pushforward.posterior.gibbs import SplitGibbs
from pushforward.posterior.infer import CrowdMethod, Question, infer
from pushforward.posterior.ranks import ranks_of
from pushforward.posterior.simulation import measured, prior_draws
from pushforward.posterior.tempering import Tempering

Told = Callable[[str, int, int], None]
"""(what is being done, done, total): called on the way."""


@dataclass(frozen=True)
class Candidate:
    """A method with its number of evaluations per draw."""

    name: str
    method: Method | CrowdMethod
    evaluations: int


@dataclass(frozen=True)
class Trial:
    """What was measured of a candidate.

    `score` is the energy score over the items' mean, in the prior's unit, lower being better; `coverage` that of
    central 80 % intervals; `ranks` and `residuals` the least p-values, corrected for their number (None: not asked);
    `refused` says why a candidate has no answer.
    """

    name: str
    evaluations: int
    score: float = math.inf
    coverage: float = math.nan
    ranks: float = 0.0
    residuals: float | None = None
    seconds: float = 0.0
    refused: str = ""

    @property
    def calibrated(self) -> bool:
        """Whether nothing was found against it, at the level of 1 %."""
        return not self.refused and self.ranks >= _LEVEL and (self.residuals is None or self.residuals >= _LEVEL)

    def told(self) -> str:
        """One line."""
        if self.refused:
            return f"{self.name} ({self.evaluations}): {self.refused}"
        verdict = "nothing against it" if self.calibrated else "its uncertainty is wrong"
        rest = "" if self.residuals is None else f", of residuals {self.residuals:.2g}"
        return (
            f"{self.name} ({self.evaluations}): energy score {self.score:.4g}, 80 % intervals hold "
            f"{self.coverage:.0%}, p of ranks {self.ranks:.2g}{rest}: {verdict}"
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
_LEAST = 20


def usual_candidates(question: Question, most: int = 1000) -> tuple[Candidate, ...]:
    """From cheap to dear, as far as `most` evaluations: those that have an answer to the likelihood."""
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
        found += [Candidate("exact", SplitGibbs(), n) for n in (250, 500, 1000)]
        found += [Candidate("tempering", Tempering(), 1000)]
    return tuple(c for c in found if c.evaluations <= most)


def recommend(
    question: Question,
    candidates: Sequence[Candidate] | None = None,
    *,
    samples: int = 19,
    seed: int = 0,
    most: int = 1000,
    truths: int = 100,
    at_once: int | None = 256,
    told: Told | None = None,
) -> Recommendation:
    """The method for questions like this one: its operator, its noise and its prior, on simulated data.

    `question.items` measurements, at least twenty, are simulated of items that `truths` evaluations draw; conditions
    bound to its denoiser have as many entries, or none. What the question's measurements are is not used. Raises
    UserError for fewer items, or no candidates.
    """
    if question.items < _LEAST or samples < 9:
        raise UserError(
            f"a recommendation is measured on at least {_LEAST} simulated items with 9 draws each; got "
            f"{question.items} and {samples}"
        )
    tried = usual_candidates(question, most) if candidates is None else tuple(candidates)
    if not tried:
        raise UserError(f"no method answers such a likelihood within {most} evaluations")
    tell = told or _silent
    tell("simulating", 0, len(tried))
    keys = Draws.of(seed, range(question.items), "recommend", question.device)
    truth = prior_draws(question.denoiser, question.shape, keys, truths, question.dtype, at_once or question.items)
    asked = replace(question, likelihood=measured(question.likelihood, truth, keys))
    trials: list[Trial] = []
    for i, candidate in enumerate(tried):
        tell(f"trying {candidate.name}", i, len(tried))
        trials.append(try_out(candidate, asked, truth, samples, seed, at_once))
        if trials[-1].calibrated:
            break
    return _chosen(trials)


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
    p_values = ranks_of(answer, truth).p_values()
    gaussian = isinstance(question.likelihood, Gaussian) and not question.likelihood.exact
    tests = label_free(answer).tests if gaussian else ()
    return replace(
        trial,
        score=float(energy_score(answer, truth).mean()),
        coverage=float(answer.interval(0.8).holds(truth).double().mean()),
        ranks=min(1.0, min(p_values.values()) * len(p_values)),
        residuals=min(1.0, min(t.p_value for t in tests) * len(tests)) if tests else None,
        seconds=time.perf_counter() - began,
    )


def energy_score(answer: Posterior, truth: Tensor) -> Tensor:
    """E‖x − x*‖ − ½ E‖x − x′‖ over draws x, x′ of each item, without bias: (B,)."""
    drawn, size = answer.samples.flatten(2).double(), answer.size
    away = (drawn - truth.flatten(1).double()).norm(dim=2).mean(0)
    between = torch.stack([(drawn - draw).norm(dim=2).sum(0) for draw in drawn]).sum(0)
    return away - 0.5 * between / max(size * (size - 1), 1)


def _chosen(trials: Sequence[Trial]) -> Recommendation:
    last = trials[-1]
    if last.calibrated:
        cheaper = [t.name for t in trials[:-1]]
        why = "the cheapest of those tried" if not cheaper else f"the uncertainty of {_listed(cheaper)} was wrong"
        reason = (
            f"{last.name} with {last.evaluations} evaluations: on simulated measurements its draws cannot be told from "
            f"those of the posterior; {why}"
        )
        return Recommendation(last.name, last.evaluations, tuple(trials), reason)
    answered = [t for t in trials if not t.refused]
    if not answered:
        raise UserError(f"no method answered: {trials[-1].refused}")
    best = min(answered, key=lambda t: t.score)
    reason = (
        f"{best.name} with {best.evaluations} evaluations has the lowest energy score of those tried, but on "
        "simulated measurements its uncertainty is wrong, as is that of all others: take more evaluations, or scale "
        "its intervals by known truths (`calibrate`)"
    )
    return Recommendation(best.name, best.evaluations, tuple(trials), reason)


def _listed(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else ", ".join(unique[:-1]) + " and " + unique[-1]


def _silent(what: str, done: int, total: int) -> None:
    pass
