"""Plug-and-play restoration by half quadratic splitting (Zhu et al. 2023), as it is run: a rule, a step and a grid."""

from __future__ import annotations

from pushforward.inverse.method import Guidance
from pushforward.inverse.rules.proximal import DiffPIR
from pushforward.inverse.steps.moves import Constant, PublishedGrid, Renewed
from pushforward.samplers.default import Sampler


def diffpir(weight: float = 7.0, zeta: float = 0.3) -> Guidance:
    """λ and the share ζ of fresh noise, on the published grid, denser near noise; 100 evaluations."""
    return Guidance(DiffPIR(weight), Sampler(Renewed(Constant(zeta**0.5)), PublishedGrid(power=0.5)))


DIFFPIR = diffpir()
"""λ = 7, ζ = 0.3 (Zhu et al. 2023)."""
