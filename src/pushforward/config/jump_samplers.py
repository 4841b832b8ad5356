"""Samplers of symbols by name. What a name means is imported when it is asked for, so names are read fast."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.models.discrete import Discrete, JumpSampling

JUMP_SAMPLERS = ("default", "ancestral", "euler", "tau-leaping", "ordered-leaping", "corrected", "one-by-one")
"""Each site from its law at the next time (default, ancestral); by rates, one jump or Poisson numbers of them, which
are refused or added up beyond one; ancestral with two corrections; masked sites one after the other, which is exact."""


def build_jump_sampler(name: str, model: Discrete, steps: int | None = None, temperature: float = 1.0) -> JumpSampling:
    """The sampler of a name for a model. Raises UserError, with the nearest name, where there is none."""
    from pushforward.models.discrete import JumpSampling

    if name not in JUMP_SAMPLERS:
        near = difflib.get_close_matches(name, JUMP_SAMPLERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"possible: {', '.join(JUMP_SAMPLERS)}"
        raise UserError(f"there is no sampler {name!r} of symbols; {hint}")
    if name == "one-by-one" and steps is not None:
        raise UserError("one-by-one takes a step for every masked site: leave out the steps")
    if name == "one-by-one" and not model.masked:
        raise UserError("one-by-one needs symbols that are masked (model.rates=absorbing), and this model's are not")
    if name == "ordered-leaping" and (model.masked or model.units is None):
        raise UserError(f"{'masked symbols' if model.masked else 'symbols of texts'} have no order; take tau-leaping")
    return JumpSampling(steps, _step(name), temperature)


def _step(name: str) -> Any:
    from pushforward.samplers.jump import JumpAncestral, JumpCorrected, JumpEuler, OrderedLeaping, TauLeaping

    match name:
        case "euler":
            return JumpEuler()
        case "tau-leaping":
            return TauLeaping()
        case "ordered-leaping":
            return OrderedLeaping()
        case "corrected":
            return JumpCorrected(JumpAncestral())
        case "one-by-one":
            return None
    return JumpAncestral()
