"""Laws of corruption: how much of the data and how much noise there is at each time."""

from pushforward.paths.gaussian import CLEAN, GaussianPath, Level, Posterior, posterior_scales
from pushforward.paths.grids import DDIMStrided, Karras, Nodes, Quadratic, Uniform, UniformLogSNR
from pushforward.paths.processes import EDM, VE, VP, CosineVP, Straight, SubVP
from pushforward.paths.table import Table, cosine_betas, linear_betas, ncsn_ladder, sqrt_linear_betas, zero_terminal_snr
from pushforward.paths.times import (
    LogitNormalTimes,
    LogNormalTimes,
    LossAware,
    Stratified,
    TimeLaw,
    Times,
    UniformLevels,
    UniformTimes,
)

__all__ = [
    "CLEAN",
    "EDM",
    "VE",
    "VP",
    "CosineVP",
    "DDIMStrided",
    "GaussianPath",
    "Karras",
    "Level",
    "LogNormalTimes",
    "LogitNormalTimes",
    "LossAware",
    "Nodes",
    "Posterior",
    "Quadratic",
    "Straight",
    "Stratified",
    "SubVP",
    "Table",
    "TimeLaw",
    "Times",
    "Uniform",
    "UniformLevels",
    "UniformLogSNR",
    "UniformTimes",
    "cosine_betas",
    "linear_betas",
    "ncsn_ladder",
    "posterior_scales",
    "sqrt_linear_betas",
    "zero_terminal_snr",
]
