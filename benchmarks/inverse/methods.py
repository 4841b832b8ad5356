"""What the exact benchmark runs: name -> method and its number of evaluations. One line per method."""

from __future__ import annotations

from typing import NamedTuple

from pushforward.inverse import (
    CCDF,
    DDNM,
    DDRM,
    DIFFPIR,
    DPS,
    MMPS,
    TMPD,
    DiffPIR,
    Exact,
    Guidance,
    Method,
    PiGDM,
    PlugIn,
    ProjectedScore,
    PublishedPiGDM,
    REDDiff,
    RePaint,
    ScoreALD,
    diffpir,
    isotropic_variance,
)
from pushforward.paths import Karras
from pushforward.samplers import DDPM, Heun, Sampler

UNIT = isotropic_variance(1.0)


class Entry(NamedTuple):
    """A method, how often it may evaluate the network, and whether it is a control beside which others are read."""

    method: Method
    evaluations: int
    control: bool = False


def ancestral(rule: object) -> Guidance:
    return Guidance(rule, Sampler(DDPM, Karras()))


METHODS: dict[str, Entry] = {
    "exact score, SDE 2M": Entry(Guidance(Exact()), 50, control=True),
    "exact score, ancestral": Entry(ancestral(Exact()), 100, control=True),
    "exact score, Heun": Entry(Guidance(Exact(), Sampler(Heun(), Karras())), 99, control=True),
    "PiGDM": Entry(Guidance(PiGDM()), 50),
    "PiGDM, ancestral": Entry(ancestral(PiGDM()), 100),
    "PiGDM, Heun": Entry(Guidance(PiGDM(), Sampler(Heun(), Karras())), 99),
    "PiGDM, published": Entry(PublishedPiGDM(), 100),
    "PiGDM, unit variance, ancestral": Entry(ancestral(PiGDM(UNIT)), 100),
    "PiGDM, no Jacobian, ancestral": Entry(ancestral(PiGDM(jacobian=False)), 100),
    "MMPS, 5 iterations": Entry(Guidance(MMPS(5)), 50),
    "MMPS, 5 iterations, ancestral": Entry(ancestral(MMPS(5)), 100),
    "MMPS, 1 iteration": Entry(Guidance(MMPS(1)), 50),
    "MMPS, solved": Entry(Guidance(MMPS(24, 1e-5)), 50),
    "TMPD, ancestral": Entry(ancestral(TMPD()), 100),
    "TMPD, published, ancestral": Entry(ancestral(TMPD(None)), 100),
    "DPS, ζ = 1, ancestral": Entry(ancestral(DPS()), 400),
    "DPS, ζ = 0.3, ancestral": Entry(ancestral(DPS(0.3)), 400),
    "plug-in, widened, ancestral": Entry(ancestral(PlugIn(widening=1.0)), 400),
    "score-ALD, ancestral": Entry(ancestral(ScoreALD()), 400),
    "DiffPIR, λ = 7, ancestral": Entry(ancestral(DiffPIR()), 100),
    "DiffPIR, λ = 1, ancestral": Entry(ancestral(DiffPIR(1.0)), 100),
    "DiffPIR, λ = 1, ζ = 1": Entry(diffpir(1.0, 1.0), 100),
    "DiffPIR, published": Entry(DIFFPIR, 100),
    "DDRM": Entry(DDRM(), 20),
    "DDRM, 100": Entry(DDRM(), 100),
    "DDRM, published": Entry(DDRM.published(), 20),
    "DDRM, published, 100": Entry(DDRM.published(), 100),
    "DDRM, published, 400": Entry(DDRM.published(), 400),
    "DDRM, theorem 3.2": Entry(DDRM.variational(), 100),
    "DDNM": Entry(DDNM(), 100),
    "DDNM, published": Entry(DDNM.published(), 100),
    "DDNM, time travel": Entry(DDNM(jump=5, times=3), 150),
    "RePaint": Entry(RePaint(), 150),
    "RePaint, published": Entry(RePaint.published(), 300),
    "projected score": Entry(ProjectedScore(), 100),
    "projected score, published": Entry(ProjectedScore.published(snr=0.16), 300),
    "CCDF": Entry(CCDF(noise=1.0), 20),
    "CCDF, published": Entry(CCDF.published(), 20),
    "RED-diff": Entry(REDDiff(), 500),
    "RED-diff, published": Entry(REDDiff.published(), 1000),
}
"""A line here is a row of the table. `Proximal` is PiGDM on these problems."""
