"""What is stored of a training beside its weights, and whether a stored run may be continued by a given recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pushforward.errors import UserError
from pushforward.training.checkpoint import Checkpoint, mismatch
from pushforward.training.ema import full_state
from pushforward.training.recipe import FREE, Recipe, as_plain, first_difference
from pushforward.training.step import Stepper

_NEEDED = {"recipe", "identity", "step", "total", "best", "history", "pending", "seconds"}


def check_same(checkpoint: Checkpoint, recipe: Recipe, identity: Mapping[str, Any]) -> None:
    """Raise `UserError`, naming the first key that differs, where a run was begun otherwise."""
    missing = sorted(_NEEDED - checkpoint.state.keys())
    if missing:
        raise UserError(f"{checkpoint.path} cannot be continued: its state does not say {', '.join(missing)}.")
    usual = as_plain(Recipe(steps=1))  # what an older version did not know of, it did as is usual now
    stored, given = (
        {k: v for k, v in r.items() if k not in FREE}
        for r in ({**usual, **checkpoint.state["recipe"]}, as_plain(recipe))
    )
    # What the caller knows the run by says more than the recipe's own names of things.
    found = first_difference(checkpoint.state["identity"], as_plain(identity)) or first_difference(stored, given)
    if found:
        raise UserError(
            f"The run in {checkpoint.path.parent.parent} cannot be continued: {found}. "
            "Give what it was begun with, another folder, or restart to begin anew."
        )


def planned_steps(checkpoint: Checkpoint, recipe: Recipe) -> tuple[int, str | None]:
    """The steps of a continued run, and a sentence where they are not what was planned.

    Raises `UserError` where the run is beyond them already, or where its minutes have changed.
    """
    total, minutes = int(checkpoint.state["total"]), checkpoint.state["recipe"].get("minutes")
    if recipe.steps is None:
        if minutes != recipe.minutes:
            asked = f"{minutes} minutes ({total} steps)" if minutes else f"{total} steps"
            raise UserError(
                f"The run was begun for {asked} and now is given {recipe.minutes} minutes; "
                "give steps to lengthen it, or restart to begin anew."
            )
        return total, None
    if recipe.steps == total:
        return total, None
    if recipe.steps < checkpoint.step:
        raise UserError(f"The run has taken {checkpoint.step} steps already, more than the {recipe.steps} asked for.")
    return recipe.steps, (
        f"The run was planned for {total} steps and now has {recipe.steps}: from step {checkpoint.step} on the "
        "schedule of the learning rate is that of the new length."
    )


def tensors_of(stepper: Stepper) -> dict[str, dict[str, Tensor]]:
    """All tensors of a training, by the files they are stored in."""
    groups = {"model": full_state(stepper.model)}
    groups |= {a.name: full_state(stepper.model, a.tensors) for a in stepper.averages}
    return groups | {f"optimizer-{o.name}": o.state() for o in stepper.objectives}


def non_finite(groups: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The first tensor with a value that is not finite, or None."""
    for group, tensors in groups.items():
        floats = {k: v for k, v in tensors.items() if v.is_floating_point() and v.numel()}
        if floats:
            norms = torch.stack([v.float() for v in torch._foreach_norm(list(floats.values()), float("inf"))])
            wrong = (~torch.isfinite(norms)).nonzero().flatten().tolist()
            if wrong:
                return f"{list(floats)[wrong[0]]} in {group}"
    return None


@torch.no_grad()
def load_into(stepper: Stepper, checkpoint: Checkpoint) -> None:
    """Put the tensors of a checkpoint back; names and shapes of all are checked before any is touched."""
    own, averages = full_state(stepper.model), {a.name: a for a in stepper.averages}
    expected = {"model": own, **dict.fromkeys(averages, own)}
    groups = {name: checkpoint.tensors(name) for name in expected}
    moments = {o.name: checkpoint.tensors(f"optimizer-{o.name}") for o in stepper.objectives}
    checks = [(name, mismatch(expected[name], groups[name])) for name in expected]
    if checkpoint.step:
        checks += [(f"optimizer-{o.name}", mismatch(o.expected_state(), moments[o.name])) for o in stepper.objectives]
    for name, difference in checks:
        if difference:
            raise UserError(f"{name} in {checkpoint.path} does not fit this model: {difference}.")
    for name, value in own.items():
        value.copy_(groups["model"][name])
    for name, average in averages.items():
        for parameter, kept in average.tensors.items():
            kept.copy_(groups[name][parameter])
    for objective in stepper.objectives:
        objective.load(moments[objective.name])
