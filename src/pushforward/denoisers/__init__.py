"""Denoisers: anything that has a path and maps (x_t, t) to an Estimate."""

from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.empirical import EmpiricalDenoiser
from pushforward.denoisers.estimate import Estimate, Reading
from pushforward.denoisers.guidance import (
    ClassifierGuided,
    GuidanceInterval,
    Guided,
    classifier_guided,
    guided,
)
from pushforward.denoisers.oracle import Mixture, MixtureDenoiser
from pushforward.denoisers.precondition import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    NoisePrediction,
    Prediction,
    ScorePrediction,
    TableIndex,
    VPrediction,
    log_noise,
)
from pushforward.denoisers.reference import reference_flow
from pushforward.denoisers.variance import (
    BetaVariance,
    LearnedVariance,
    PriorVariance,
    ScaledVariance,
    VarianceTable,
    WithVariance,
    estimate_variances,
    noise_power,
    squared_error,
)
from pushforward.denoisers.wrappers import Clipped, DynamicThreshold, clipped, dynamically_thresholded

__all__ = [
    "BetaVariance",
    "ClassifierGuided",
    "Clipped",
    "DataPrediction",
    "Denoiser",
    "DynamicThreshold",
    "EDMPrediction",
    "EmpiricalDenoiser",
    "Estimate",
    "FlowPrediction",
    "GuidanceInterval",
    "Guided",
    "LearnedVariance",
    "Mixture",
    "MixtureDenoiser",
    "NetworkDenoiser",
    "NoisePrediction",
    "Prediction",
    "PriorVariance",
    "Reading",
    "ScaledVariance",
    "ScorePrediction",
    "TableIndex",
    "VPrediction",
    "VarianceTable",
    "WithVariance",
    "classifier_guided",
    "clipped",
    "dynamically_thresholded",
    "estimate_variances",
    "guided",
    "log_noise",
    "noise_power",
    "reference_flow",
    "squared_error",
]
