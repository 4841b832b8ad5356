"""Names of the ways to restore, for the command line alone."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pushforward.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.denoisers import Denoiser
    from pushforward.inverse import Likelihood, Method
    from pushforward.inverse.operators.operator import Shape
    from pushforward.numerics.random import Draws
    from pushforward.posterior import CrowdMethod


@dataclass(frozen=True)
class NamedMethod:
    """A method by name: what it is in a few words, how it is made, and how many evaluations suit it."""

    about: str
    build: Callable[[Likelihood], Method | CrowdMethod]
    evaluations: int
    prior_draws: Callable[..., Tensor] | None = None
    """Items of the law that it answers for, where that is not the reverse SDE's: called as `posterior.prior_draws`."""


def _usual(likelihood: Likelihood) -> Method:
    from pushforward import inverse

    return inverse.usual_method(likelihood)


def _rule(name: str) -> Callable[[Likelihood], Method]:
    def build(likelihood: Likelihood) -> Method:
        from pushforward import inverse

        return inverse.Guidance(getattr(inverse, name)())

    return build


def _own(name: str) -> Callable[[Likelihood], Method]:
    def build(likelihood: Likelihood) -> Method:
        from pushforward import inverse

        made: Method = getattr(inverse, name)()
        return made

    return build


def _exact(name: str) -> Callable[[Likelihood], Method | CrowdMethod]:
    def build(likelihood: Likelihood) -> Method | CrowdMethod:
        from pushforward import posterior

        made: Method | CrowdMethod = getattr(posterior, name)()
        return made

    return build


def _flow_draws(denoiser: Denoiser, shape: Shape, draws: Draws, *, at_once: int) -> Tensor:
    from pushforward.posterior import FlowChains

    return FlowChains().prior_draws(denoiser, shape, draws, at_once=at_once)


METHODS: dict[str, NamedMethod] = {
    "default": NamedMethod("moment matching; pigdm if not linear, proximal if not Gaussian", _usual, 50),
    "mmps": NamedMethod("moment matching; exact for Gaussian data", _rule("MMPS"), 50),
    "pigdm": NamedMethod("pseudo-inverse guidance", _rule("PiGDM"), 50),
    "tmpd": NamedMethod("moment projection, a diagonal covariance", _rule("TMPD"), 50),
    "dps": NamedMethod("gradient of the residual; not a posterior", _rule("DPS"), 100),
    "score-ald": NamedMethod("annealed likelihood without the network's gradient", _rule("ScoreALD"), 100),
    "proximal": NamedMethod("the proximal point of any likelihood", _rule("Proximal"), 50),
    "diffpir": NamedMethod("proximal steps on the estimate", _rule("DiffPIR"), 100),
    "ddrm": NamedMethod("in the operator's singular vectors", _own("DDRM"), 20),
    "ddnm": NamedMethod("null-space projection of the estimate", _own("DDNM"), 50),
    "repaint": NamedMethod("projection with resampling", _own("RePaint"), 100),
    "projection": NamedMethod("projection between predictor and corrector", _own("ProjectedScore"), 100),
    "ccdf": NamedMethod("from a first estimate, with projections", _own("CCDF"), 20),
    "exact": NamedMethod("noise splitting: draws of the posterior itself", _exact("SplitGibbs"), 500),
    "tempering": NamedMethod("weighted and cooled together, where there are many modes", _exact("Tempering"), 1000),
    "twisted": NamedMethod("guidance with weights; for linear operators", _exact("Twisted"), 100),
    "flow": NamedMethod("chains through the model's own sampler", _exact("FlowChains"), 2000, _flow_draws),
    "red-diff": NamedMethod("an optimum, not a draw", _own("REDDiff"), 100),
}
USUAL_METHOD = "default"


def named_method(name: str) -> NamedMethod:
    """The entry of that name. Raises UserError with the nearest names where there is none."""
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"there is no method {name!r}; {hint}possible: {', '.join(METHODS)}")
