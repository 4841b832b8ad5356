"""Fitting a `Tuned` sampler to one model: Adam on its times and coefficients, through the unrolled solver.

The loss 0.75 log mean e² + 0.25 mean log e² over a batch, e the distance of a
sample to its exact endpoint per coordinate, minds the few bad samples and the many good ones. Several beginnings
run for a short while, the best on a validation split runs on; other starts, never used before, decide whether the
result helps.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pushforward.denoisers.denoiser import Denoiser
from pushforward.errors import UserError
from pushforward.numerics.broadcast import mean_per_sample
from pushforward.numerics.random import Draws, key, permutation
from pushforward.paths.gaussian import Level
from pushforward.samplers.default import default_sampler
from pushforward.samplers.step import Finish, Step, simulate
from pushforward.samplers.tuned import Tuned
from pushforward.samplers.unrolled import Coefficients, unrolled

Conditions = Callable[[Draws], Mapping[str, Tensor]]
"""Draws of the starts -> what is bound to each by `given`, e.g. a label drawn from the model's classes."""

Report = Callable[[float, float, float], None]
"""(done, total, seconds left): work is counted in evaluations of the model."""

_GRADIENT = 3
"""What a differentiated evaluation costs, in plain ones."""

_FEW = 0.75
"""The weight of the mean square, which a few samples dominate, against the mean logarithm."""

_NOISE_END = 6.0
"""Where the nodes may begin on a path that starts at α = 0: log σ/α."""


@dataclass(frozen=True)
class Effort:
    """How much work tuning does. The defaults suit exact denoisers; an eighth of each count serves networks.

    starts: starting points that are fitted to; batch, steps, rate: of Adam, with cosine decay; trial: the share of
    `steps` that each beginning is given; reference: evaluations that find an endpoint; held_out: starts that decide.
    """

    starts: int = 16384
    batch: int = 512
    steps: int = 1500
    rate: float = 5e-3
    trial: float = 0.1
    reference: int = 128
    validation: int = 4096
    held_out: int = 4096

    def __post_init__(self) -> None:
        counts = (self.starts, self.batch, self.steps, self.reference, self.validation, self.held_out)
        if min(counts) < 1 or not self.rate > 0 or not 0 <= self.trial <= 1:
            raise UserError(
                f"the effort of tuning needs counts of at least 1, a rate above 0, a trial in [0, 1]: {self}"
            )


class Figures(NamedTuple):
    """Distance to the reference endpoint per coordinate: over all samples, and of the median sample."""

    rms: float
    median: float


@dataclass(frozen=True)
class TuningResult:
    """A sampler, or None with the reason; and the figures of both on held-out starts."""

    sampler: Tuned | None
    reason: str
    tuned: Figures
    default: Figures


class Task(NamedTuple):
    """Starts with their endpoints, and the denoiser with the conditions of each bound."""

    denoiser: Denoiser
    starts: Tensor
    ends: Tensor

    def rows(self, index: Tensor) -> Task:
        return Task(self.denoiser.rows(index), self.starts[index], self.ends[index])


def tune(
    denoiser: Denoiser,
    evaluations: int,
    *,
    shape: Sequence[int],
    sigma_data: float,
    effort: Effort = Effort(),
    seed: int = 0,
    conditions: Conditions | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Report | None = None,
) -> TuningResult:
    """The best times and coefficients for this model at n evaluations; None, with the reason, where they do not help.

    Args:
        denoiser: an exact one or a network, which must be in evaluation mode; no condition bound but by `conditions`.
        evaluations: n, at least 2.
        shape: of one sample, without the batch.
        sigma_data: the data's standard deviation in model units.
        conditions: binds conditions to the starts, for conditional models.
        device, dtype: of the states.
        progress: called with (done, total, seconds left).

    The result is the same for the same seed. Raises UserError for evaluations < 2.
    """
    if evaluations < 2:
        raise UserError(f"tuning needs at least 2 evaluations; got {evaluations}")
    clock = _Clock(effort, evaluations, progress)
    place = torch.empty(0, dtype=dtype, device=device)
    make = _TaskMaker(denoiser, tuple(shape), sigma_data, effort, seed, conditions, place, clock)
    train, check = make("starts", effort.starts), make("validation", effort.validation)
    best = _best_beginning(train, check, _beginnings(train, evaluations, sigma_data), effort, seed, clock)
    _fit(best, train, effort.steps, effort, key(seed, "tune", "final"), clock)
    sampler = best.sampler(float(denoiser.path.level(denoiser.path.t_max).ratio))
    return _judged(sampler, make("held out", effort.held_out), evaluations, sigma_data, effort)


class _Clock:
    """Counts work and tells how long the rest will take."""

    def __init__(self, effort: Effort, evaluations: int, progress: Report | None) -> None:
        starts = effort.starts + effort.validation + effort.held_out
        steps = effort.steps + len(_SHAPES) * round(effort.steps * effort.trial)
        self.total = float(starts * effort.reference + steps * effort.batch * evaluations * _GRADIENT)
        self.done, self.progress, self.began = 0.0, progress, time.monotonic()

    def add(self, work: float) -> None:
        self.done = min(self.done + work, self.total)
        if self.progress:
            spent = time.monotonic() - self.began
            self.progress(self.done, self.total, spent * (self.total - self.done) / self.done)


@dataclass(frozen=True)
class _TaskMaker:
    denoiser: Denoiser
    shape: tuple[int, ...]
    sigma_data: float
    effort: Effort
    seed: int
    conditions: Conditions | None
    place: Tensor  # of the dtype and on the device of the states
    clock: _Clock

    @torch.no_grad()
    def __call__(self, stream: str, count: int) -> Task:
        """`count` starts of a stream of their own, with endpoints by the default sampler with many evaluations."""
        draws = Draws.of(self.seed, range(count), f"tune {stream}", self.place.device)
        bound = self.denoiser.given(**self.conditions(draws)) if self.conditions else self.denoiser
        path = self.denoiser.path
        x = path.prior(draws.at("prior").normal(self.shape, self.place.dtype))
        fine = default_sampler(path, self.effort.reference, self.sigma_data)
        ends = []
        for rows in torch.arange(count, device=self.place.device).split(self.effort.batch):
            ends.append(fine.sample(bound.rows(rows), x[rows], self.effort.reference, draws[rows]))
            self.clock.add(len(rows) * self.effort.reference)
        return Task(bound, x, torch.cat(ends))


_SHAPES = tuple(itertools.product((2.5, 4.5), (0.03, 0.1, 0.3)))
"""Beginnings: the first node, over the data's largest principal deviation, and the last, over σ_data."""


def _beginnings(train: Task, evaluations: int, sigma_data: float) -> Iterator[Coefficients]:
    path = train.denoiser.path
    start, end = (path.level(t).ratio for t in (path.t_max, path.t_min))
    ends = (min(math.log(start), _NOISE_END) if start < math.inf else _NOISE_END, math.log(end))
    flat = train.ends.flatten(1)
    largest = float(torch.linalg.matrix_norm(flat, 2)) / math.sqrt(len(flat))
    for first, last in _SHAPES:
        high = min(math.log(first * largest), ends[0] - 0.1)
        low = min(max(math.log(last * sigma_data), ends[1] + 0.1), high - 0.5)
        nodes = torch.linspace(high, low, evaluations, dtype=torch.float64).tolist()
        yield Coefficients(ends, sigma_data, nodes, order=3)


def _best_beginning(
    train: Task, check: Task, candidates: Iterator[Coefficients], effort: Effort, seed: int, clock: _Clock
) -> Coefficients:
    """The beginning that is best on the validation split after a short fit."""
    steps, scored = round(effort.steps * effort.trial), []
    for i, one in enumerate(candidates):
        _fit(one, train, steps, effort, key(seed, "tune", "trial", i), clock)
        with torch.no_grad():
            scored.append((float(_loss(unrolled(check.denoiser, check.starts, one), check.ends)), i, one))
    return min((score for score in scored if math.isfinite(score[0])), default=scored[0])[2]


def _loss(x: Tensor, ends: Tensor) -> Tensor:
    square = mean_per_sample((x - ends) ** 2) + torch.finfo(x.dtype).tiny ** 0.5
    return _FEW * torch.log(square.mean()) + (1 - _FEW) * torch.log(square).mean()


def _fit(coefficients: Coefficients, train: Task, steps: int, effort: Effort, stream: int, clock: _Clock) -> None:
    """Adam on the coefficients alone: no gradient is taken by, or left in, the network's weights."""
    parameters = list(coefficients.parameters())
    optimiser = torch.optim.Adam(parameters, lr=effort.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for rows in itertools.islice(_batches(len(train.starts), effort.batch, stream), steps):
        part = train.rows(rows.to(train.starts.device))
        loss = _loss(unrolled(part.denoiser, part.starts, coefficients), part.ends)
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step()
        schedule.step()
        clock.add(len(rows) * len(coefficients.corrections) * _GRADIENT)


def _batches(count: int, batch: int, stream: int) -> Iterator[Tensor]:
    """Rows without end, every start once per epoch."""
    for epoch in itertools.count():
        yield from permutation(key(stream, epoch), count).split(min(batch, count))


def _judged(sampler: Tuned, task: Task, evaluations: int, sigma_data: float, effort: Effort) -> TuningResult:
    """The sampler, if it is better than the default one in both figures on starts that nothing was fitted to."""
    path = task.denoiser.path
    usual = default_sampler(path, evaluations, sigma_data)
    steps = ((sampler, sampler.levels(path), None), (usual.step, usual.grid(path, evaluations), usual.finish))
    tuned, default = (_figures(task, effort.batch, *rule) for rule in steps)
    reason = _refusal(tuned, default, len(task.starts))
    return TuningResult(None if reason else sampler, reason or "it helps on held-out starts", tuned, default)


def _refusal(tuned: Figures, default: Figures, count: int) -> str:
    """Why a tuned sampler is not used, empty where it is."""
    for name, ours, usual in zip(Figures._fields, tuned, default, strict=True):
        if not ours < usual:
            return (
                f"on {count} held-out starts its {name} distance to the reference is {ours:.3g}, and the default "
                f"sampler's {usual:.3g}: more starts or more steps of fitting may help"
            )
    return ""


@torch.no_grad()
def _figures(task: Task, batch: int, step: Step, levels: Sequence[Level], finish: Finish | None) -> Figures:
    squares = []
    for rows in torch.arange(len(task.starts), device=task.starts.device).split(batch):
        part, draws = task.rows(rows), Draws.of(0, rows, "tune judge", task.starts.device)
        x = simulate(part.denoiser, step, part.starts, levels, draws, finish=finish)
        squares.append(mean_per_sample((x - part.ends).double() ** 2))
    square = torch.cat(squares)
    return Figures(float(square.mean().sqrt()), float(square.sqrt().median()))
