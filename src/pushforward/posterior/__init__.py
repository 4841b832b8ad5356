"""Posteriors that can be trusted: exact samplers, their diagnostics, and calibration."""

from pushforward.posterior.answer import Interval, Misfit, Posterior
from pushforward.posterior.bridge import Bridge, Moved
from pushforward.posterior.chains import Chains
from pushforward.posterior.diagnostics import MIXED, effective_size, split_rhat, weight_size
from pushforward.posterior.gibbs import SplitGibbs
from pushforward.posterior.infer import ChainMethod, CrowdMethod, Question, infer
from pushforward.posterior.metropolis import Tested
from pushforward.posterior.noise_level import UnknownNoise
from pushforward.posterior.reverse import Reverse
from pushforward.posterior.splitting import Splitting
from pushforward.posterior.tempering import Tempering
from pushforward.posterior.twisted import Twisted

__all__ = [
    "MIXED",
    "Bridge",
    "ChainMethod",
    "Chains",
    "CrowdMethod",
    "Interval",
    "Misfit",
    "Moved",
    "Posterior",
    "Question",
    "Reverse",
    "SplitGibbs",
    "Splitting",
    "Tempering",
    "Tested",
    "Twisted",
    "UnknownNoise",
    "effective_size",
    "infer",
    "split_rhat",
    "weight_size",
]
