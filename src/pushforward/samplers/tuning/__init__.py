"""Fitting a `Tuned` sampler to one model: starts and endpoints, beginnings, Adam, a verdict on starts of its own."""

from pushforward.samplers.tuning.effort import Effort, Report
from pushforward.samplers.tuning.judging import Figures, TuningResult
from pushforward.samplers.tuning.starts import Conditions
from pushforward.samplers.tuning.tuner import tune

__all__ = ["Conditions", "Effort", "Figures", "Report", "TuningResult", "tune"]
