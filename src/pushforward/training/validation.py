"""The loss on held-out items, always the same with the same draws, for the weights and each of their averages."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pushforward.numerics.random import Draws, key, permutation
from pushforward.training.ema import using
from pushforward.training.order import share
from pushforward.training.step import Items, Stepper

_LEAST = 128
"""Losses that a validation is the mean of, where the recipe allows as many."""


def validate(stepper: Stepper, items: Items) -> dict[str, float | None]:
    """The mean loss of the first objective for `model` and every average; None where it is not finite.

    All sets of weights meet the same items and draws, so that their differences are paired.
    """
    sets: Mapping[str, Mapping[str, Tensor] | None] = {"model": None, **{a.name: a.tensors for a in stepper.averages}}
    out: dict[str, float | None] = {}
    for name, tensors in sets.items():
        with using(stepper.model, tensors):
            value = _mean_loss(stepper, items)
        out[name] = value if math.isfinite(value) else None
    return out


@torch.no_grad()
def _mean_loss(stepper: Stepper, items: Items) -> float:
    recipe, place = stepper.recipe, stepper.place
    order = permutation(key(recipe.seed, "validation order"), len(items))
    # Few items are met several times, at other times and noises: the loss varies far more over those than over items.
    chosen = order.repeat(-(-_LEAST // len(order)))[: max(len(order), _LEAST)]
    chosen = chosen[: recipe.validation_batches * recipe.batch_size]
    draws = Draws.of(recipe.seed, range(len(chosen)), "validation", place.device)
    losses = torch.zeros(len(chosen), device=place.device)
    for start in range(0, len(chosen), recipe.batch_size):
        size = min(recipe.batch_size, len(chosen) - start)
        mine = share(size, place.world, place.rank)
        at = slice(start + mine.start, start + mine.stop)
        if len(mine):
            batch = items.batch(chosen[at]).to(place.device)
            losses[at] = stepper.loss(batch, draws[at]).to(losses.dtype)
    return float(place.sum(losses).mean(dtype=torch.float32 if place.device.type == "mps" else torch.float64))


def lowest(losses: Mapping[str, float | None]) -> tuple[str, float] | None:
    """The weights with the lowest validation loss and that loss, or None where none is finite."""
    finite = [(value, name) for name, value in losses.items() if value is not None]
    return None if not finite else min(finite)[::-1]
