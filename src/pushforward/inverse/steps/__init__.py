"""Methods that move the state: the measurement is met by the step, by the start, or by an optimiser over x."""

from pushforward.inverse.steps.ccdf import CCDF, First, Ridge, least_squares
from pushforward.inverse.steps.ddnm import DDNM, DDNMStep
from pushforward.inverse.steps.ddrm import DDRM, DDRMStep, Fixed, variational
from pushforward.inverse.steps.diffpir import DIFFPIR, diffpir
from pushforward.inverse.steps.measured import Components, Measured
from pushforward.inverse.steps.moves import Constant, PublishedGrid, Renewal, Renewed, ReverseSDE, Stepwise, UsualGrid
from pushforward.inverse.steps.projection import Modelled, ProjectedScore, ProjectedStep, Projection, Published
from pushforward.inverse.steps.reddiff import REDDiff
from pushforward.inverse.steps.resample import RePaint, Resampled

__all__ = [
    "CCDF",
    "DDNM",
    "DDRM",
    "DIFFPIR",
    "Components",
    "Constant",
    "DDNMStep",
    "DDRMStep",
    "First",
    "Fixed",
    "Measured",
    "Modelled",
    "ProjectedScore",
    "ProjectedStep",
    "Projection",
    "Published",
    "PublishedGrid",
    "REDDiff",
    "RePaint",
    "Renewal",
    "Renewed",
    "Resampled",
    "ReverseSDE",
    "Ridge",
    "Stepwise",
    "UsualGrid",
    "diffpir",
    "least_squares",
    "variational",
]
