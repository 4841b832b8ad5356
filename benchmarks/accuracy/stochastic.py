"""Quality of samplers that draw noise: sliced Wasserstein distance of 20,000 samples of aniso8 to 20,000 exact draws.

On VP. The floor is the distance between two sets of exact draws. Deterministic samplers stand beside for comparison.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
from torch import Tensor

from accuracy.problem import PATHS, FastMixtureDenoiser, x64
from pushforward.metrics.distances import sliced_wasserstein
from pushforward.numerics.random import Draws
from pushforward.paths import Karras
from pushforward.paths.grids import Grid
from pushforward.samplers import DDPM, Churn, Heun, Multistep, RenewedQuantity, SDEDPMSolverPP2M, simulate
from pushforward.samplers.default import default_sampler
from pushforward.samplers.step import Step
from targets import sigma_data, target

BUDGETS = (10, 20, 50)
LIMIT = 1.1e-2
"""Aimed at with 20 evaluations; the best peer's was 1.9e-2 when the bound was set."""

Run = Callable[[int], Tensor]


class Sampling:
    """20,000 starts on VP, and every sampler that is compared from them."""

    def __init__(self, count: int) -> None:
        self.mixture, self.path = target("aniso8"), PATHS["VP"]()
        self.denoiser = FastMixtureDenoiser(self.mixture, self.path)
        self.draws = Draws.of(0, range(count), "stochastic")
        self.starts = self.path.prior(self.draws.at("prior").normal((self.mixture.dim,), x64))
        self.sigma_data = sigma_data(self.mixture)

    def exact(self, stream: str) -> Tensor:
        return self.mixture.sample(Draws.of(0, range(len(self.starts)), stream))

    def ours(self) -> dict[str, Run]:
        churn = Churn(amount=40.0, low=0.05, high=50.0, noise=1.003)
        return {
            "default (no noise)": self._default,
            "SDE multistep 2, default grid": self._on_default_grid(Multistep(2, RenewedQuantity())),
            "SDE multistep 3, default grid": self._on_default_grid(Multistep(3, RenewedQuantity())),
            "SDE-DPM++2M, Karras": self._step(SDEDPMSolverPP2M, Karras()),
            "DDPM, default grid": self._on_default_grid(DDPM),
            "Heun with churn, Karras": self._step(Heun(churn), Karras(), cost=2),
        }

    def _default(self, n: int) -> Tensor:
        return default_sampler(self.path, n, self.sigma_data).sample(self.denoiser, self.starts, n, self.draws)

    def _on_default_grid(self, step: Step) -> Run:
        return lambda n: self._step(step, default_sampler(self.path, n, self.sigma_data).grid)(n)

    def _step(self, step: Step, grid: Grid, cost: int = 1) -> Run:
        """A second-order step into σ = 0 costs one evaluation, so n of them are (n + 1)//2 steps."""
        return lambda n: simulate(
            self.denoiser, step, self.starts, grid(self.path, n if cost == 1 else (n + 1) // 2), self.draws
        )

    def peers(self) -> dict[str, Run]:
        multistep = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
        grids = {
            "Karras": {"use_karras_sigmas": True},
            "exponential": {"use_exponential_sigmas": True},
            "linspace": {},
            "trailing": {"timestep_spacing": "trailing"},
        }
        found = {
            f"diffusers SDE-DPM++2M, {grid}": self._diffusers(
                diffusers.DPMSolverMultistepScheduler, multistep | options, on_sigmas=True
            )
            for grid, options in grids.items()
        }
        options = {"timestep_spacing": "trailing", "clip_sample": False}
        return found | {"diffusers DDPM, trailing": self._diffusers(diffusers.DDPMScheduler, options, on_sigmas=False)}

    def _diffusers(self, kind: type, options: dict, *, on_sigmas: bool) -> Run:
        def run(n: int) -> Tensor:
            scheduler = kind(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", **options)
            scheduler.set_timesteps(n)
            if on_sigmas:
                scheduler.set_begin_index(0)
            x, generator = self.starts, torch.Generator().manual_seed(0)
            for i, t in enumerate(scheduler.timesteps):
                bar = float(scheduler.alphas_cumprod[t])
                ratio = float(scheduler.sigmas[i]) if on_sigmas else (1 / bar - 1) ** 0.5
                u = x * (1 + ratio**2) ** 0.5
                noise = (u - self.denoiser.mean(u, ratio)) / ratio
                x = scheduler.step(noise, t, x, generator=generator).prev_sample
            return x

        return run


def main(quick: bool, output: Path | None) -> int:
    sampling = Sampling(4000 if quick else 20_000)
    real = sampling.exact("real")
    floor = [sliced_wasserstein(sampling.exact(f"real {i}"), real) for i in range(5)]
    print(f"floor {sum(floor) / 5:.1e} ({min(floor):.1e} … {max(floor):.1e}) of {len(real)} samples\n")
    print(f"| sampler | {' | '.join(map(str, BUDGETS))} evaluations |\n|{'---|' * (1 + len(BUDGETS))}")
    found: dict[str, dict[int, float]] = {}
    for name, run in (sampling.ours() | sampling.peers()).items():
        found[name] = {n: sliced_wasserstein(run(n), real) for n in BUDGETS}
        print(f"| {name} | {' | '.join(f'{value:.1e}' for value in found[name].values())} |", flush=True)
    best = found["SDE multistep 3, default grid"][20]
    print(f"\n{'ok  ' if best <= LIMIT else 'MISS'}  SDE multistep 3 at 20: {best:.2e} (at most {LIMIT:.2e})")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"floor": floor, "distances": found}, indent=1) + "\n")
    return 0 if best <= LIMIT else 1
