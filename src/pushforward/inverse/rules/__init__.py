"""Rules of guidance: a denoiser and a likelihood → the denoiser of the posterior, which any sampler draws from."""

from pushforward.inverse.rules.moments import MMPS, TMPD
from pushforward.inverse.rules.pigdm import PiGDM
from pushforward.inverse.rules.plug_in import DPS, PlugIn, ScoreALD
from pushforward.inverse.rules.posterior import Correction, Posterior
from pushforward.inverse.rules.proximal import DiffPIR, Proximal
from pushforward.inverse.rules.published import PublishedPiGDM, distributed, printed
from pushforward.inverse.rules.tangent import Tangent
from pushforward.inverse.rules.variance import VarianceLaw, isotropic_variance

__all__ = [
    "DPS",
    "MMPS",
    "TMPD",
    "Correction",
    "DiffPIR",
    "PiGDM",
    "PlugIn",
    "Posterior",
    "Proximal",
    "PublishedPiGDM",
    "ScoreALD",
    "Tangent",
    "VarianceLaw",
    "distributed",
    "isotropic_variance",
    "printed",
]
