"""Denoisers: anything that has a path and maps (x_t, t) to an Estimate."""

from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.estimate import Estimate, Reading
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

__all__ = [
    "DataPrediction",
    "Denoiser",
    "EDMPrediction",
    "Estimate",
    "FlowPrediction",
    "Mixture",
    "MixtureDenoiser",
    "NetworkDenoiser",
    "NoisePrediction",
    "Prediction",
    "Reading",
    "ScorePrediction",
    "TableIndex",
    "VPrediction",
    "log_noise",
]
