"""Names of samplers, for the command line and configuration alone: one table, which grows by one line per sampler.

What a name means is imported when it is asked for, so that reading the names is fast.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.models.diffusion import Diffusion
    from pushforward.paths.grids import Grid
    from pushforward.samplers.default import Sampler
    from pushforward.samplers.step import Step


@dataclass(frozen=True)
class Named:
    """A sampler by name: what it is in a few words, and how it is made for a model and a number of evaluations."""

    about: str
    build: Callable[[Diffusion, int], Sampler]


def _default(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers.default import default_sampler

    return default_sampler(model.path, evaluations, model.prediction.sigma_data)


def _with_grid(model: Diffusion, step: Step) -> Sampler:
    from pushforward.samplers.default import Sampler

    return Sampler(step, grid_of(model))


def grid_of(model: Diffusion) -> Grid:
    """The published levels of a table of levels; elsewhere uniform in (σ/α)^{1/7}."""
    from pushforward.paths import DDIMStrided, Karras, Table

    return DDIMStrided(len(model.path)) if isinstance(model.path, Table) else Karras()


def _ddim(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers import DDIM

    return _with_grid(model, DDIM)


def _ddpm(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers import DDPM

    return _with_grid(model, DDPM)


def _ddpm_large(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers import Ancestral, fixed_large

    return _with_grid(model, Ancestral(1.0, fixed_large))


def _heun(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers import Heun

    return _with_grid(model, Heun())


def _heun_churn(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers import Churn, Heun

    return _with_grid(model, Heun(Churn(amount=40.0, low=0.05, high=50.0, noise=1.003)))


def _dpm2m(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers import DPMSolverPP2M

    return _with_grid(model, DPMSolverPP2M)


def _dpm3m(model: Diffusion, evaluations: int) -> Sampler:
    from pushforward.samplers import DPMSolverPP3M

    return _with_grid(model, DPMSolverPP3M)


SAMPLERS: dict[str, Named] = {
    "default": Named("the best known choice for this model", _default),
    "ddim": Named("DDIM: deterministic, first order", _ddim),
    "ddpm": Named("DDPM: ancestral, small variance", _ddpm),
    "ddpm-large": Named("DDPM: ancestral, large variance", _ddpm_large),
    "heun": Named("Heun in σ/α (EDM), second order, two evaluations per step", _heun),
    "heun-churn": Named("Heun with the churn of EDM: fresh noise on the way", _heun_churn),
    "dpm++2m": Named("DPM-Solver++ 2M: second order, one evaluation per step", _dpm2m),
    "dpm++3m": Named("DPM-Solver++ 3M: third order, one evaluation per step", _dpm3m),
}


def build_sampler(name: str, model: Diffusion, evaluations: int) -> Sampler:
    """The sampler of a name for a model and a number of evaluations.

    Raises UserError, with the nearest name, where there is none.
    """
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"possible: {', '.join(SAMPLERS)}"
        raise UserError(f"there is no sampler {name!r}; {hint}")
    return SAMPLERS[name].build(model, evaluations)
