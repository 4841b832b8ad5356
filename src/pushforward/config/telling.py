"""What a run's model is told beside the class when it draws: conditions from a file, bound to its generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from pushforward.config.run import Run
from pushforward.data.conditions import Conditions, read_conditions
from pushforward.data.limits import default_limit
from pushforward.errors import UserError
from pushforward.models.denoising import LatentGenerator


def telling(run: Run, conditions: Conditions, *, held: Sequence[str] = ()) -> Run:
    """The run whose model is told these; item i takes entry i, in turn. Guidance goes away from all but `held`.

    Raises UserError for a model that was not trained with them, and for conditions of another size.
    """
    moved = run.sampled("a condition")
    known = _sizes(run)
    found = read_conditions(conditions, len(moved.model.shape) - 1 or 1, default_limit())
    for name, values in found.items():
        size = values.shape[1 if name == "image" else -1]
        if name not in known or (name != "tokens_mask" and known[name] != size):
            has = ", ".join(f"{other} of {n}" for other, n in known.items()) or "nothing beside the class"
            raise UserError(f"the model is told {has}, and {name} of {size} was given: give what it was trained with")
    unknown = [name for name in held if name not in found]
    if unknown:
        raise UserError(f"{unknown[0]} is to be held, and it was not given: name one of {', '.join(found)}")
    told = {name: torch.from_numpy(values) for name, values in found.items()}
    generator = run.generator
    assert isinstance(generator, LatentGenerator | type(moved))
    return replace(run, generator=generator.given(tuple(held), **told))


def _sizes(run: Run) -> dict[str, int]:
    section = run.config.model
    inner = getattr(section, "inner", section)
    return {str(name): size for name, size in (getattr(inner, "told", None) or {}).items()}
