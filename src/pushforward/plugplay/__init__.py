"""Plug-and-play priors: a trained denoiser as an energy of x, minimised or sampled under any constraint.

energy = DenoisingEnergy(run.generator.conditioned(None))
x = Descent(steps=500)(energy, flip_symmetry, start, draws)
"""

from pushforward.plugplay.constraint import Constraint, Parametrisation, Rule, flip_symmetry, nothing, of_class
from pushforward.plugplay.energy import DenoisingEnergy, Energy, SmoothedEnergy, squared_error
from pushforward.plugplay.schedule import Annealed, AnnealedTimes, Schedule, everywhere
from pushforward.plugplay.solve import Descent, LangevinSampling, Seen, Strength, Watcher, full_strength, identity
from pushforward.plugplay.weighting import Cells, Weighting, elbo, published, uniform

__all__ = [
    "Annealed",
    "AnnealedTimes",
    "Cells",
    "Constraint",
    "DenoisingEnergy",
    "Descent",
    "Energy",
    "LangevinSampling",
    "Parametrisation",
    "Rule",
    "Schedule",
    "Seen",
    "SmoothedEnergy",
    "Strength",
    "Watcher",
    "Weighting",
    "elbo",
    "everywhere",
    "flip_symmetry",
    "full_strength",
    "identity",
    "nothing",
    "of_class",
    "published",
    "squared_error",
    "uniform",
]
