"""Posteriors that can be trusted: exact samplers, their diagnostics, and calibration."""

from pushforward.posterior.answer import Interval, Misfit, Posterior
from pushforward.posterior.bridge import Bridge, Moved
from pushforward.posterior.calibration import Calibration, OnItems, on_items, scaled
from pushforward.posterior.chains import Chains
from pushforward.posterior.checks import LabelFree, label_free
from pushforward.posterior.compare import Comparison, compare
from pushforward.posterior.coverage import ConformalScale, Curve, coverage
from pushforward.posterior.density import DensityChains
from pushforward.posterior.diagnostics import MIXED, effective_size, split_rhat, weight_size
from pushforward.posterior.flow_chains import FlowChains
from pushforward.posterior.gibbs import SplitGibbs
from pushforward.posterior.infer import ChainMethod, CrowdMethod, Question, infer
from pushforward.posterior.levels import Agreement, levels_agree
from pushforward.posterior.metropolis import MetropolisBridge
from pushforward.posterior.noise_level import UnknownNoise
from pushforward.posterior.ranks import Ranks, ranks_of
from pushforward.posterior.recommend import Candidate, Recommendation, Trial, energy_score, recommend, usual_candidates
from pushforward.posterior.reverse import Reverse
from pushforward.posterior.simulation import measured, prior_draws
from pushforward.posterior.splitting import Splitting
from pushforward.posterior.stein import Stein, stein_test
from pushforward.posterior.tempering import Tempering
from pushforward.posterior.twisted import Twisted

__all__ = [
    "MIXED",
    "Agreement",
    "Bridge",
    "Calibration",
    "Candidate",
    "ChainMethod",
    "Chains",
    "Comparison",
    "ConformalScale",
    "CrowdMethod",
    "Curve",
    "DensityChains",
    "FlowChains",
    "Interval",
    "LabelFree",
    "MetropolisBridge",
    "Misfit",
    "Moved",
    "OnItems",
    "Posterior",
    "Question",
    "Ranks",
    "Recommendation",
    "Reverse",
    "SplitGibbs",
    "Splitting",
    "Stein",
    "Tempering",
    "Trial",
    "Twisted",
    "UnknownNoise",
    "compare",
    "coverage",
    "effective_size",
    "energy_score",
    "infer",
    "label_free",
    "levels_agree",
    "measured",
    "on_items",
    "prior_draws",
    "ranks_of",
    "recommend",
    "scaled",
    "split_rhat",
    "stein_test",
    "usual_candidates",
    "weight_size",
]
