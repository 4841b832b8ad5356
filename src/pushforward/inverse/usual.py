"""The method to take unless there is a reason for another."""

from __future__ import annotations

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

    Gaussian noise: moment matching for linear operators, pseudo-inverse guidance for others. A classifier: its gradient
    at the mean. Counts, heavy tails, energies, several at once: the proximal rule.
    """
    if isinstance(likelihood, Gaussian):
        return Guidance(MMPS() if is_linear(likelihood) else PiGDM())
    return Guidance(PlugIn() if isinstance(likelihood, Categorical) else Proximal())
