"""Fitting through the unrolled solver: Adam on times and coefficients.

The loss 0.75 log mean e² + 0.25 mean log e² over a batch, e the distance of a sample to its exact endpoint per
coordinate, minds the few bad samples and the many good ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pushforward.numerics.broadcast import mean_per_sample
from pushforward.numerics.random import key, permutation
from pushforward.samplers.tuning.effort import GRADIENT, Clock, Effort
from pushforward.samplers.tuning.starts import Task
from pushforward.samplers.unrolled import Coefficients, unrolled

_FEW = 0.75
"""The weight of the mean square, which a few samples dominate, against the mean logarithm."""


def best_beginning(
    train: Task, check: Task, candidates: Iterator[Coefficients], effort: Effort, seed: int, clock: Clock
) -> Coefficients:
    """The beginning that is best on the validation split after a short fit."""
    steps, scored = round(effort.steps * effort.trial), []
    for i, one in enumerate(candidates):
        fit(one, train, steps, effort, key(seed, "tune", "trial", i), clock)
        with torch.no_grad():
            scored.append((float(_loss(unrolled(check.denoiser, check.starts, one), check.ends)), i, one))
    return min((score for score in scored if math.isfinite(score[0])), default=scored[0])[2]


def _loss(x: Tensor, ends: Tensor) -> Tensor:
    square = mean_per_sample((x - ends) ** 2) + torch.finfo(x.dtype).tiny ** 0.5
    return _FEW * torch.log(square.mean()) + (1 - _FEW) * torch.log(square).mean()


def fit(coefficients: Coefficients, train: Task, steps: int, effort: Effort, stream: int, clock: Clock) -> None:
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
        clock.add(len(rows) * len(coefficients.corrections) * GRADIENT)


def _batches(count: int, batch: int, stream: int) -> Iterator[Tensor]:
    """Rows without end, every start once per epoch."""
    for epoch in itertools.count():
        yield from permutation(key(stream, epoch), count).split(min(batch, count))
