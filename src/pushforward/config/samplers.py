"""Names of samplers, for the command line and configuration alone: one table, which grows by one line per sampler.

What a name means is imported when it is asked for, so that reading the names is fast.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pushforward.errors import UserError

if TYPE_CHECKING:
    from pushforward.denoisers.variance import VarianceTable
    from pushforward.models.family import Denoising
    from pushforward.paths.grids import Grid
    from pushforward.samplers.default import Sampler, Sampling
    from pushforward.samplers.multistep import Quantity
    from pushforward.samplers.step import Step


@dataclass(frozen=True, eq=False)
class Request:
    """What a sampler is made for: a model, a number of evaluations, and Var[x_0 | x_t] where it is known."""

    model: Denoising
    evaluations: int
    variance: VarianceTable | None = None

    def on(self, step: Step) -> Sampler:
        """The step on the usual grid: a table's own levels; elsewhere uniform in (σ/α)^{1/7}."""
        from pushforward.samplers.default import Sampler

        return Sampler(step, grid_of(self.model))

    @property
    def sigma_data(self) -> float:
        return self.model.prediction.sigma_data


@dataclass(frozen=True)
class Named:
    """A sampler by name: what it is in a few words, how it is made, and what it needs.

    `random`: it draws noise on the way, so that its samples are not those of the probability flow. `needs_variance`:
    it uses Var[x_0 | x_t], the model's own or estimated. `needs_table`: it plans by one number per level, which is
    estimated whatever the model tells. `adaptive`: it decides itself how many evaluations it takes.
    """

    about: str
    build: Callable[[Request], Sampling]
    random: bool = False
    needs_variance: bool = False
    needs_table: bool = False
    adaptive: bool = False

    def lacks_variance(self, model: Denoising) -> bool:
        """Whether Var[x_0 | x_t] has to be estimated before this sampler can run on a model."""
        return self.needs_table or (self.needs_variance and not model.tells_variance)


def grid_of(model: Denoising) -> Grid:
    """The published levels of a table of levels; elsewhere uniform in (σ/α)^{1/7}."""
    from pushforward.paths import DDIMStrided, Karras, Table

    return DDIMStrided(len(model.path)) if isinstance(model.path, Table) else Karras()


def _default(ask: Request) -> Sampling:
    from pushforward.samplers.default import default_sampler

    return default_sampler(ask.model.path, ask.evaluations, ask.sigma_data)


def _ddim(eta: float) -> Callable[[Request], Sampling]:
    def build(ask: Request) -> Sampling:
        from pushforward.samplers import Ancestral

        return ask.on(Ancestral(eta))

    return build


def _ddpm(ask: Request) -> Sampling:
    from pushforward.samplers import Ancestral, analytic, fixed_small

    return ask.on(Ancestral(1.0, analytic if ask.model.tells_variance else fixed_small))


def _ddpm_large(ask: Request) -> Sampling:
    from pushforward.samplers import Ancestral, fixed_large

    return ask.on(Ancestral(1.0, fixed_large))


def _analytic(eta: float) -> Callable[[Request], Sampling]:
    def build(ask: Request) -> Sampling:
        from pushforward.samplers import Ancestral, analytic

        return ask.on(Ancestral(eta, analytic))

    return build


def _analytic_optimal(ask: Request) -> Sampling:
    from pushforward.samplers import Ancestral, OptimalGrid, Sampler, analytic

    if ask.variance is None:  # `build_sampler` has refused it
        raise ValueError("the optimal trajectory needs a table of variances")
    return Sampler(Ancestral(1.0, analytic), OptimalGrid(ask.variance))


def _multistep(order: int, on_noise: bool = False) -> Callable[[Request], Sampling]:
    def build(ask: Request) -> Sampling:
        from pushforward.samplers import (
            DataQuantity,
            Multistep,
            NoiseQuantity,
            interpolation_weights,
            published_weights,
        )

        quantity: Quantity = NoiseQuantity() if on_noise else DataQuantity()
        return ask.on(Multistep(order, quantity, weights=published_weights if order == 2 else interpolation_weights))

    return build


def _sde_2m(ask: Request) -> Sampling:
    from pushforward.samplers import SDEDPMSolverPP2M

    return ask.on(SDEDPMSolverPP2M)


def _single_step(order: int, on_noise: bool = False) -> Callable[[Request], Sampling]:
    def build(ask: Request) -> Sampling:
        from pushforward.samplers import DataQuantity, NoiseQuantity, SingleStep

        return ask.on(SingleStep(order, NoiseQuantity() if on_noise else DataQuantity()))

    return build


def _unipc(ask: Request) -> Sampling:
    from pushforward.samplers import UniPC

    return ask.on(UniPC())


def _adams_bashforth(ask: Request) -> Sampling:
    from pushforward.samplers import BalancedQuantity, Multistep

    return ask.on(Multistep(4, BalancedQuantity(ask.sigma_data)))


def _heun(ask: Request) -> Sampling:
    from pushforward.samplers import Heun

    return ask.on(Heun())


def _heun_churn(ask: Request) -> Sampling:
    from pushforward.samplers import Churn, Heun

    return ask.on(Heun(Churn(amount=40.0, low=0.05, high=50.0, noise=1.003)))


def _flow(c: float, b: float) -> Callable[[Request], Sampling]:
    """On the straight path uniform in t down to t_min, as published; elsewhere on the usual grid."""

    def build(ask: Request) -> Sampling:
        from pushforward.paths import Straight, Uniform
        from pushforward.samplers import FlowRungeKutta, Sampler

        step = FlowRungeKutta(c, b)
        return Sampler(step, Uniform(to_clean=False)) if isinstance(ask.model.path, Straight) else ask.on(step)

    return build


def _dpm_adaptive(ask: Request) -> Sampling:
    from pushforward.samplers import AdaptiveSampler

    return AdaptiveSampler()


def _ode_adaptive(ask: Request) -> Sampling:
    from pushforward.samplers import FlowSampler

    return FlowSampler()


def _restart(ask: Request) -> Sampling:
    """The default's step and grid; a quarter of the evaluations climb from 0.12 to 0.6 of the data's deviation."""
    from pushforward.samplers import Restart, Sampler, default_sampler

    whole = default_sampler(ask.model.path, ask.evaluations, ask.sigma_data)
    steps = max(1, ask.evaluations // 4)
    return Sampler(Restart(whole.step, 0.12 * ask.sigma_data, 0.6 * ask.sigma_data, 1, steps), whole.grid)


def _euler_maruyama(ask: Request) -> Sampling:
    from pushforward.samplers import EulerMaruyama

    return ask.on(EulerMaruyama())


def _reverse_diffusion(ask: Request) -> Sampling:
    from pushforward.samplers import ReverseDiffusion

    return ask.on(ReverseDiffusion())


def _predictor_corrector(ask: Request) -> Sampling:
    from pushforward.samplers import Langevin, ReverseDiffusion, SignalToNoise, Then

    return ask.on(Then(ReverseDiffusion(), Langevin(SignalToNoise(0.16))))


def _annealed_langevin(ask: Request) -> Sampling:
    """One step of δ = step/σ² = 0.4 per level of a geometric ladder; five, as published, from 200 evaluations on."""
    from pushforward.paths import UniformLogSNR
    from pushforward.samplers import AnnealedLangevin, Sampler

    path = ask.model.path
    repeats = min(5, max(1, ask.evaluations // 40))
    epsilon = 0.4 * path.level(path.t_min).sigma ** 2
    return Sampler(AnnealedLangevin(epsilon, repeats), UniformLogSNR())


SAMPLERS: dict[str, Named] = {
    "default": Named("the best known choice for this model and number of evaluations", _default),
    "ddim": Named("DDIM: deterministic, first order", _ddim(0.0)),
    "dpm2m": Named("DPM-Solver 2M: second order, on the noise", _multistep(2, on_noise=True)),
    "dpm2s": Named("DPM-Solver 2S: second order, two evaluations per step", _single_step(2, on_noise=True)),
    "dpm3s": Named("DPM-Solver 3S: third order, three evaluations per step", _single_step(3, on_noise=True)),
    "dpm++2m": Named("DPM-Solver++ 2M: second order, one evaluation per step", _multistep(2)),
    "dpm++3m": Named("DPM-Solver++ 3M: third order, one evaluation per step", _multistep(3)),
    "dpm++2s": Named("DPM-Solver++ 2S: second order, two evaluations per step", _single_step(2)),
    "dpm++3s": Named("DPM-Solver++ 3S: third order, three evaluations per step", _single_step(3)),
    "unipc": Named("UniPC-3: a multistep predictor with a corrector at no cost", _unipc),
    "ab4": Named("exponential Adams-Bashforth: fourth order, one evaluation per step", _adams_bashforth),
    "heun": Named("Heun in σ/α (EDM): second order, two evaluations per step", _heun),
    "flow-euler": Named("Euler in t on the velocity: flow matching, first order", _flow(1.0, 0.0)),
    "flow-midpoint": Named("the midpoint rule in t: second order, two evaluations per step", _flow(0.5, 1.0)),
    "flow-heun": Named("Heun in t: second order, two evaluations per step", _flow(1.0, 0.5)),
    "dpm-adaptive": Named("DPM-Solver-23 with its own steps: --steps is not used", _dpm_adaptive, adaptive=True),
    "ode-adaptive": Named("the probability flow to a tolerance: --steps is not used", _ode_adaptive, adaptive=True),
    "ddim-0.5": Named("DDIM with η = 0.5, between DDIM and DDPM", _ddim(0.5), random=True),
    "ddpm": Named("DDPM: ancestral, with the learned variance where there is one, else the small", _ddpm, random=True),
    "ddpm-large": Named("DDPM: ancestral, large variance", _ddpm_large, random=True),
    "analytic-ddpm": Named(
        "Analytic-DPM: DDPM with the variance learned, else estimated on the data",
        _analytic(1.0),
        random=True,
        needs_variance=True,
    ),
    "analytic-ddim": Named(
        "Analytic-DPM: DDIM with the variance learned, else estimated on the data",
        _analytic(0.0),
        random=True,
        needs_variance=True,
    ),
    "analytic-optimal": Named(
        "Analytic-DPM on the levels of the best bound",
        _analytic_optimal,
        random=True,
        needs_variance=True,
        needs_table=True,
    ),
    "sde-dpm++2m": Named("SDE-DPM-Solver++ 2M: second order with fresh noise", _sde_2m, random=True),
    "heun-churn": Named("Heun with the churn of EDM: fresh noise on the way", _heun_churn, random=True),
    "restart": Named("the default, climbing back to more noise once", _restart, random=True),
    "euler-maruyama": Named("the reverse SDE by Euler-Maruyama", _euler_maruyama, random=True),
    "reverse-diffusion": Named("the forward steps discretised backwards", _reverse_diffusion, random=True),
    "predictor-corrector": Named("reverse diffusion with a Langevin corrector", _predictor_corrector, random=True),
    "annealed-langevin": Named("Langevin dynamics down a ladder of levels", _annealed_langevin, random=True),
}


def choices(
    names: Iterable[str], model: Denoising, variance: VarianceTable | None = None
) -> dict[str, Callable[[int], Sampling]]:
    """What `compare_samplers` takes: for each name, the sampler for a number of evaluations."""

    def choice(name: str) -> Callable[[int], Sampling]:
        return lambda evaluations: build_sampler(name, model, evaluations, variance)

    return {name: choice(name) for name in names}


def named(name: str) -> Named:
    """The entry of a name. Raises UserError, with the nearest name, where there is none."""
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"possible: {', '.join(SAMPLERS)}"
        raise UserError(f"there is no sampler {name!r}; {hint}")
    return SAMPLERS[name]


def build_sampler(name: str, model: Denoising, evaluations: int, variance: VarianceTable | None = None) -> Sampling:
    """The sampler of a name for a model and a number of evaluations.

    Raises UserError, with the nearest name, where there is none, and where it needs a variance that is not given.
    """
    entry = named(name)
    if variance is None and entry.lacks_variance(model):
        raise UserError(
            f"the sampler {name!r} needs Var[x_0 | x_t] of the model, estimated on its data: take the run with its "
            "variances, `run.with_variance()`"
        )
    return entry.build(Request(model, evaluations, variance))
