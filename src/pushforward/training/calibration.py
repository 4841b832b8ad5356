"""Minutes become steps once: a few steps are timed on a copy of the model, which is then thrown away."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from pushforward.errors import Interrupted
from pushforward.training.place import Place
from pushforward.training.recipe import Recipe
from pushforward.training.signals import StopRequest
from pushforward.training.step import Items, Stepper
from pushforward.training.validation import validate

_SHARE = 0.03  # of the budget may go into the calibration itself
_VALIDATIONS = 25


def steps_in(
    minutes: float,
    model: nn.Module,
    train: Items,
    validation: Items | None,
    recipe: Recipe,
    place: Place,
    stop: StopRequest,
) -> int:
    """How many steps fit into a number of minutes here, validations and this calibration included; at least one.

    Several processes take the main one's answer; the exchange of gradients is not part of what is timed.
    """
    began, budget = time.perf_counter(), 60 * minutes
    alone = replace(place, world=1, rank=0)
    parts = replace(recipe, batch_size=max(1, recipe.batch_size // place.world))
    stepper = Stepper(copy.deepcopy(model), train, parts, alone)
    stepper.step(0, 1000)
    times: list[float] = []
    while (
        not (stop.requested and place.world == 1)
        and (len(times) < 3 or sum(times) < min(3.0, _SHARE * budget))
        and len(times) < 50
    ):
        times.append(_timed(lambda: stepper.step(len(times) + 1, 1000), place.device))
    scoring = _timed(lambda: validate(stepper, validation), place.device) if validation is not None else 0.0
    if stop.requested and place.world == 1:
        raise Interrupted(f"Interrupted ({stop.name}) before the first step: there is nothing to save.")
    step = statistics.median(times)
    if recipe.validate_every:
        step, scoring = step + scoring / recipe.validate_every, 0.0
    left = budget - (time.perf_counter() - began) - _VALIDATIONS * scoring
    return place.together(lambda: max(1, int(left / step)))


def _timed(work: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
