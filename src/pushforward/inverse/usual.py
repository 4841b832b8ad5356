"""The method to take unless there is a reason for another."""

from __future__ import annotations

from pushforward.errors import UserError
from pushforward.inverse.likelihoods.gaussian import Gaussian
from pushforward.inverse.likelihoods.likelihood import Likelihood
from pushforward.inverse.likelihoods.others import Categorical
from pushforward.inverse.method import Guidance
from pushforward.inverse.rules.gains import is_linear
from pushforward.inverse.rules.moments import MMPS
from pushforward.inverse.rules.pigdm import PiGDM
from pushforward.inverse.rules.plug_in import PlugIn
from pushforward.inverse.rules.proximal import Proximal


def usual_method(likelihood: Likelihood) -> Guidance:
    """Guidance by the rule that errs least on such a likelihood, with the usual sampler.

    Gaussian noise: moment matching for linear operators, pseudo-inverse guidance for others that have one. A
    classifier: its gradient at the mean. All else, counts, heavy tails, energies, several at once: the proximal rule.
    """
    if isinstance(likelihood, Gaussian) and is_linear(likelihood):
        return Guidance(MMPS())
    if isinstance(likelihood, Gaussian) and _has_pseudo_inverse(likelihood):
        return Guidance(PiGDM())
    return Guidance(PlugIn() if isinstance(likelihood, Categorical) else Proximal())


def _has_pseudo_inverse(likelihood: Gaussian) -> bool:
    """Asked of the measurement itself, as one link of a chain of operators may be without."""
    try:
        likelihood.operator.pseudo_inverse(likelihood.y)
    except UserError:
        return False
    return True
