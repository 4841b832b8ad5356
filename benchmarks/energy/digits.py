"""An energy model of 8×8 digits: samples by several ways, log Z by annealed chains, bits per dimension with errors.

The split is that of `pushforward train digits`. Integers are spread uniformly over their cells in training and in
scoring, so that −log₂ p/64 + log₂ of the cells bounds the bits per integer. The energy is the density at the smallest
noise of its path. The same digits are scored by the probability flow of the same network, which needs no Z.

    nice -n 10 .venv/bin/python benchmarks/energy/digits.py [--steps 1200] [--chains 128] [--rungs 150]

The trained model is kept in --out and not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch

from pushforward.data.dataset import Batch
from pushforward.data.sources import load
from pushforward.denoisers import EDMPrediction
from pushforward.denoisers.terminal import Moments
from pushforward.energy import HMC, MALA, Metropolis, mala_step
from pushforward.metrics.evaluate import evaluate_samples
from pushforward.models.likelihood import ProbabilityFlow
from pushforward.models.noisy_energy import NoisyEnergyModel
from pushforward.networks.energy import image_potential
from pushforward.numerics.adams import Adams, Bunched
from pushforward.numerics.divergence import Hutchinson
from pushforward.numerics.random import Draws
from pushforward.paths import EDM, Karras, LogNormalTimes, Stratified
from pushforward.samplers import DDIM, AnnealedLangevin, Sampler, Then, default_sampler
from pushforward.training import Recipe, find_checkpoint, fit, load_weights

SHAPE, CELL, DIM = (1, 8, 8), 2 / 16, 64
SMALLEST = 0.02
"""σ of the density: half the deviation of a uniform cell."""


def spread(batch: Batch, draws: Draws) -> Batch:
    """The integers of a batch, uniform over their cells."""
    return Batch(batch.values + CELL * (draws.at("cell").uniform(SHAPE) - 0.5), batch.labels)


def build(deviation: float, width: int, knee: float) -> NoisyEnergyModel:
    torch.manual_seed(0)
    times = Stratified(LogNormalTimes(-1.4, 1.5, deviation))
    path = EDM(sigma_min=SMALLEST, sigma_max=80.0)
    return NoisyEnergyModel(image_potential(1, width, knee=knee), path, EDMPrediction(deviation), times, SHAPE)


def trained(data, out: Path, steps: int, width: int, knee: float) -> tuple[NoisyEnergyModel, float]:
    """The model with its averaged weights, and the seconds of training."""
    model = build(float(data.train.all().values.std()), width, knee)
    recipe = Recipe(steps=steps, batch_size=64, learning_rate=2e-3, device="cpu", augment=spread, save_seconds=300)
    began = time.perf_counter()
    if not (out / "done").exists():
        fit(model, data.train, data.validation, recipe, out, {})
        (out / "done").write_text(f"{time.perf_counter() - began:.0f}")
    found = find_checkpoint(out)
    assert found is not None
    load_weights(model, found, "ema-0.100")
    return model.eval(), float((out / "done").read_text())


def samplers(model: NoisyEnergyModel):
    """Ways to draw, with the evaluations of the network that each is given."""
    corrected = Then(DDIM, Metropolis(MALA(mala_step(DIM)), 1))
    annealed = AnnealedLangevin(epsilon=0.2 * SMALLEST**2, repeats=2)  # δ = 0.2 at every level
    return {
        "default": (default_sampler(model.path, 20, model.prediction.sigma_data), 20),
        "DDIM and MALA at every level": (Sampler(corrected, Karras()), 60),
        "annealed Langevin": (Sampler(annealed, Karras(rho=40.0)), 100),
    }


@torch.no_grad()
def drawn(model: NoisyEnergyModel, sampler: Sampler, evaluations: int, count: int) -> torch.Tensor:
    draws = Draws.of(0, range(count))
    start = model.path.prior(draws.at("prior").normal(SHAPE))
    return sampler.sample(model.denoiser(), start, evaluations, draws)


def quality(samples: torch.Tensor, data) -> dict[str, float]:
    """Fréchet distance over its floor, precision and recall, as `pushforward evaluate` measures them."""
    train, test = (part.all().values[:, 0] for part in (data.train, data.test))
    rows = evaluate_samples(samples[:, 0].clamp(-1, 1), None, train, test)
    return {row.name: row.value for row in rows}


def bits(nats: torch.Tensor) -> tuple[float, float]:
    """Bits per dimension of integers from log-densities of their cells: mean and standard error over items."""
    each = -(nats + DIM * math.log(CELL)) / (DIM * math.log(2))
    return float(each.mean()), float(each.std()) / math.sqrt(len(each))


def likelihood(model: NoisyEnergyModel, data, chains: int, rungs: int) -> dict[str, object]:
    """log Z with its error by both directions, and the bits of the test digits by it and by the probability flow."""
    train, test = data.train.all(), data.test.all()
    noise = Draws.of(1, range(len(train)), "train")
    known = spread(train, noise).values + SMALLEST * noise.normal(SHAPE)
    moments = Moments.of_samples(known, full=True)
    began = time.process_time()
    kernel = HMC(mala_step(DIM), 1)
    found = model.estimate_log_z(
        Draws.of(0, range(chains), "log Z"), rungs=rungs, kernel=kernel, moments=moments, data=known[:chains]
    )
    seconds = time.process_time() - began
    draws = Draws.of(2, range(len(test)), "score")
    x = spread(test, draws).values
    energy = bits(model.log_prob(x))
    some = torch.arange(len(x))[:: max(1, len(x) // 100)]
    solver = Adams(49, order=3, times=Bunched(-0.3))
    flow = ProbabilityFlow(model.denoiser(), moments, solver, to_clean=False)
    by_flow = flow.log_prob(x[some], Hutchinson(draws[some].at("probes"), 1)).nats
    return {
        "log Z": found.value,
        "error of log Z": found.standard_error,
        "effective chains": found.effective,
        "accepted": found.accepted,
        "from data down, mean": None if found.upper is None else found.upper.value,
        "bits/dim, energy": energy,
        "error from log Z, bits/dim": found.standard_error / (DIM * math.log(2)),
        "bits/dim of some, energy": bits(model.log_prob(x[some])),
        "bits/dim of the same, probability flow": bits(by_flow),
        "processor seconds of log Z": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/energy-digits"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--chains", type=int, default=128)
    parser.add_argument("--rungs", type=int, default=150)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--knee", type=float, default=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load("digits")
    model, seconds = trained(data, arguments.out, arguments.steps, arguments.width, arguments.knee)
    print(f"trained in {seconds:.0f} s", flush=True)
    found = likelihood(model, data, arguments.chains, arguments.rungs)
    print(json.dumps(found, indent=1), flush=True)
    for name, (sampler, evaluations) in samplers(model).items():
        rows = quality(drawn(model, sampler, evaluations, arguments.samples), data)
        print(f"| {name} | {evaluations} | {' | '.join(f'{k} {v:.3f}' for k, v in rows.items())} |", flush=True)


if __name__ == "__main__":
    main()
