"""Families of models trained on the same data, measured alike: what is compared, and how it is kept."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pushforward.data.atomic import write_file
from pushforward.errors import UserError
from pushforward.report.evaluation import GeneratorEvaluation


@dataclass(frozen=True)
class Likelihood:
    """Mean log p of the test items in the user's units, nats, with its standard error over items.

    `bits` are bits per dimension, where the data are counted; `gaussian` is what a Gaussian fit of the training data
    says of the same items, in bits where there are bits.
    """

    nats: float
    error: float
    bits: float | None
    gaussian: float
    method: str


@dataclass(frozen=True)
class Contender:
    """One training of one family: what it cost and what came of it. Memory in bytes, times in seconds."""

    family: str
    seed: int
    run: str
    parameters: int
    steps: int
    seconds: float
    memory: int | None
    evaluation: GeneratorEvaluation
    likelihood: Likelihood | None
    missing: str
    config: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `of_dict` gives it back."""
        likelihood = None if self.likelihood is None else asdict(self.likelihood)
        return {**self.__dict__, "evaluation": self.evaluation.to_dict(), "likelihood": likelihood}

    @staticmethod
    def of_dict(stored: Mapping[str, Any]) -> Contender:
        """Raises KeyError, TypeError or ValueError for anything that `to_dict` does not write."""
        likelihood = None if stored["likelihood"] is None else Likelihood(**stored["likelihood"])
        evaluation = GeneratorEvaluation.of_dict(stored["evaluation"])
        return Contender(**{**stored, "evaluation": evaluation, "likelihood": likelihood})


class Spread(NamedTuple):
    """A mean over seeds and the standard deviation of a seed, nan where there is one seed alone."""

    mean: float
    sd: float


class Measure(NamedTuple):
    """A column of the comparison: its name, which way is better (None: neither), how it is read off a contender, and
    what real data score."""

    name: str
    better: Literal["low", "high"] | None
    read: Callable[[Contender], float | None]
    real: Callable[[Contender], float | None] = lambda one: None


def _scored(name: str, *, over_floor: bool = False) -> Callable[[Contender], float | None]:
    def read(one: Contender) -> float | None:
        try:
            row = one.evaluation[name]
        except KeyError:
            return None
        return row.value / row.floor if over_floor else row.value

    return read


def _floor(name: str) -> Callable[[Contender], float | None]:
    def read(one: Contender) -> float | None:
        try:
            return one.evaluation[name].floor
        except KeyError:
            return None

    return read


def _bits(one: Contender) -> float | None:
    return None if one.likelihood is None else one.likelihood.bits


def _nats(one: Contender) -> float | None:
    return None if one.likelihood is None or one.likelihood.bits is not None else one.likelihood.nats


BITS = Measure("bits per dimension", "low", _bits)
NATS = Measure("log-likelihood, nats", "high", _nats)
FRECHET = Measure("Fréchet distance / floor", "low", _scored("FD", over_floor=True), lambda one: 1.0)
COVERAGE = Measure("coverage", "high", _scored("coverage"), _floor("coverage"))
SAMPLE_TIME = Measure("one sample, ms", "low", lambda one: 1e3 * one.evaluation.seconds)
MEASURES: tuple[Measure, ...] = (
    BITS,
    NATS,
    FRECHET,
    Measure("kernel MMD²", "low", _scored("MMD²"), _floor("MMD²")),
    Measure("sliced Wasserstein", "low", _scored("SW₂"), _floor("SW₂")),
    Measure("precision", "high", _scored("precision"), _floor("precision")),
    Measure("recall", "high", _scored("recall"), _floor("recall")),
    COVERAGE,
    Measure("near copies", "low", _scored("near copies"), _floor("near copies")),
    Measure("label accuracy", "high", _scored("label accuracy"), _floor("label accuracy")),
)
COSTS: tuple[Measure, ...] = (
    Measure("parameters", None, lambda one: float(one.parameters)),
    Measure("steps of training", None, lambda one: float(one.steps)),
    Measure("training, minutes", "low", lambda one: one.seconds / 60),
    SAMPLE_TIME,
    Measure("memory, MiB", "low", lambda one: None if one.memory is None else one.memory / 2**20),
)


@dataclass(frozen=True)
class FamilyComparison:
    """Contenders on one data set with the same budget, which `budget` says in words."""

    data: str
    budget: str
    contenders: tuple[Contender, ...]

    @property
    def gaussian(self) -> float | None:
        """What a Gaussian fit of the training data says of the test items, in the unit of the likelihoods."""
        return next((one.likelihood.gaussian for one in self.contenders if one.likelihood is not None), None)

    @property
    def families(self) -> list[str]:
        """In the order in which they were asked for."""
        return list(dict.fromkeys(one.family for one in self.contenders))

    @property
    def seeds(self) -> list[int]:
        return sorted({one.seed for one in self.contenders})

    def of(self, family: str) -> list[Contender]:
        return [one for one in self.contenders if one.family == family]

    def spread(self, family: str, measure: Measure) -> Spread | None:
        """Mean and deviation over the seeds; None where it is not measured for each of them."""
        values = [measure.read(one) for one in self.of(family)]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return None
        return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else math.nan)

    def real(self, measure: Measure) -> float | None:
        """What real data score, the mean over all contenders."""
        known = [value for one in self.contenders if (value := measure.real(one)) is not None]
        return statistics.fmean(known) if known else None

    def best(self, measure: Measure) -> list[str]:
        """The families that no other beats by more than the spread of their seeds; none where neither way is better."""
        spreads = {f: s for f in self.families if (s := self.spread(f, measure)) is not None}
        if measure.better is None or len(spreads) < 2:
            return []
        sign = 1.0 if measure.better == "low" else -1.0
        first = min(spreads.values(), key=lambda s: sign * s.mean)
        return [f for f, s in spreads.items() if sign * (s.mean - first.mean) <= _margin(s, first)]

    def measured(self, measures: Sequence[Measure]) -> list[Measure]:
        """Those of the measures that any family has."""
        return [m for m in measures if any(self.spread(family, m) is not None for family in self.families)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, the summary over seeds first."""
        summary = {
            family: {m.name: _plain(self.spread(family, m)) for m in self.measured((*MEASURES, *COSTS))}
            for family in self.families
        }
        return {
            "data": self.data,
            "budget": self.budget,
            "seeds": self.seeds,
            "summary": summary,
            "real data": {m.name: self.real(m) for m in self.measured(MEASURES)},
            "gaussian": self.gaussian,
            "contenders": [one.to_dict() for one in self.contenders],
        }


def _margin(one: Spread, other: Spread) -> float:
    """The deviation of the difference of two seeds; 0 where a single seed tells nothing of it."""
    return math.hypot(*(0.0 if math.isnan(s.sd) else s.sd for s in (one, other)))


def _plain(spread: Spread | None) -> dict[str, float | None] | None:
    if spread is None:
        return None
    return {"mean": spread.mean, "sd": None if math.isnan(spread.sd) else spread.sd}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; numbers that are not finite become null."""
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_contender(path: Path) -> Contender | None:
    """What was stored of a contender; None where there is none, or not a whole one."""
    try:
        return Contender.of_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
