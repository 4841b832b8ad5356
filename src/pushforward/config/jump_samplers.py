"""Samplers of symbols by name."""

from __future__ import annotations

import difflib
from typing import Any

from pushforward.errors import UserError
from pushforward.models.discrete import Discrete, JumpSampling
from pushforward.samplers.jump import JumpAncestral, JumpCorrected, JumpEuler, OrderedLeaping, TauLeaping

JUMP_SAMPLERS: dict[str, tuple[str, Any]] = {
    "default": ("ancestral: each site from its law at the next time", JumpAncestral()),
    "ancestral": ("each site from its law at the next time", JumpAncestral()),
    "euler": ("at most one jump of a site in a step", JumpEuler()),
    "tau-leaping": ("Poisson numbers of jumps, more than one refused", TauLeaping()),
    "ordered-leaping": ("Poisson numbers of jumps of ordered values, added up", OrderedLeaping()),
    "corrected": ("ancestral steps with two corrections after each", JumpCorrected(JumpAncestral())),
    "one-by-one": ("masked sites one after the other in random order: exact", None),
}


def build_jump_sampler(name: str, model: Discrete, steps: int | None = None, temperature: float = 1.0) -> JumpSampling:
    """The sampler of a name for a model. Raises UserError, with the nearest name, where there is none."""
    if name not in JUMP_SAMPLERS:
        near = difflib.get_close_matches(name, JUMP_SAMPLERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"possible: {', '.join(JUMP_SAMPLERS)}"
        raise UserError(f"there is no sampler {name!r} of symbols; {hint}")
    step = JUMP_SAMPLERS[name][1]
    if name == "one-by-one" and steps is not None:
        raise UserError("one-by-one takes a step for every masked site: leave out the steps")
    if name == "one-by-one" and not model.masked:
        raise UserError("one-by-one needs symbols that are masked (model.rates=absorbing), and this model's are not")
    if name == "ordered-leaping" and model.masked:
        raise UserError("masked symbols have no order; take tau-leaping")
    return JumpSampling(steps, step, temperature)
