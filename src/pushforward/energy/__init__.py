"""Models p = exp(-f)/Z: their sampling, and their normalising constant with error bars."""

from pushforward.energy.ais import Annealed, Schedule, anneal, descend, fit_schedule
from pushforward.energy.chains import HMC, MALA, Kernel, Moved, Unadjusted, fit_step, mala_step, run_chain
from pushforward.energy.corrector import Metropolis
from pushforward.energy.denoiser import EnergyDenoiser, energy_of
from pushforward.energy.ladders import GaussianBase, Ladder, NoiseLadder, NoisyTarget, Start, Tempered
from pushforward.energy.log_z import Average, LogZ, bennett, effective_size, log_mean
from pushforward.energy.losses import (
    DenoisingAt,
    Explicit,
    FiniteDifference,
    ScoreMatching,
    Sliced,
    SlicedReduced,
)
from pushforward.energy.point import Point, Target, target_of

__all__ = [
    "HMC",
    "MALA",
    "Annealed",
    "Average",
    "DenoisingAt",
    "EnergyDenoiser",
    "Explicit",
    "FiniteDifference",
    "GaussianBase",
    "Kernel",
    "Ladder",
    "LogZ",
    "Metropolis",
    "Moved",
    "NoiseLadder",
    "NoisyTarget",
    "Point",
    "Schedule",
    "ScoreMatching",
    "Sliced",
    "SlicedReduced",
    "Start",
    "Target",
    "Tempered",
    "Unadjusted",
    "anneal",
    "bennett",
    "descend",
    "effective_size",
    "energy_of",
    "fit_schedule",
    "fit_step",
    "log_mean",
    "mala_step",
    "run_chain",
    "target_of",
]
