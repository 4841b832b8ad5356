"""Two-dimensional data in 32 × 32 cells: the learned bound beside the entropy of the cells, samples beside cells.

Moons and eight Gaussians, cut into 32 levels per axis. The truth is the table of 10⁶ points. Masked, uniform and
Gaussian rates; a perceptron of 3 × 128, 5,000 steps of 256. Bound: within 0.05 nats of the entropy; total variation at
most 0.15.

    nice -n 10 .venv/bin/python benchmarks/discrete/plane.py [--steps 5000] [--only moons] [--rates absorbing]
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from common import Items, kept, trained, verdict

from pushforward.config.families.discrete import process
from pushforward.denoisers.table_oracle import TableDenoiser
from pushforward.models.discrete import Discrete, JumpSampling
from pushforward.networks.integers import RowLogits
from pushforward.numerics.random import Draws
from pushforward.objectives.jump import jump_bound
from pushforward.objectives.masked import masked_bound
from pushforward.paths.jump import JumpPath

LEVELS = 32


def points(name, n, seed):
    """(n, 2) points of a shape in [-1, 1]²."""
    draws = Draws.of(seed, range(n), name)
    z = draws.at("noise").normal((2,), torch.float64)
    if name == "eight":
        angle = draws.at("mode").integers(8).double() * math.pi / 4
        return 0.7 * torch.stack((angle.cos(), angle.sin()), 1) + 0.06 * z
    turn, upper = math.pi * draws.at("turn").uniform((), torch.float64), draws.at("moon").integers(2).double()
    x = torch.where(upper > 0, turn.cos(), 1 - turn.cos()) - 0.5
    y = torch.where(upper > 0, turn.sin(), 0.5 - turn.sin()) - 0.25
    return 0.6 * torch.stack((x, y), 1) + 0.04 * z


def cells(x):
    return ((x.clamp(-0.9999, 0.9999) + 1) / 2 * LEVELS).floor().long()


def whole_bound(denoiser, x0, draws, repeats):
    """All three terms: (B,)."""
    return jump_bound(denoiser, x0, draws, repeats).total


def run(name, rates, steps, out):
    table = torch.zeros(LEVELS, LEVELS, dtype=torch.float64)
    for part in range(10):
        x = cells(points(name, 100_000, part))
        table += torch.bincount(x[:, 0] * LEVELS + x[:, 1], minlength=LEVELS**2).reshape(LEVELS, -1)
    table /= table.sum()
    entropy = -float(torch.xlogy(table, table).sum())
    generator, amount = process(rates, LEVELS)

    def make():
        network = RowLogits(2, generator.states, LEVELS, 128, 3)
        return Discrete(network, JumpPath(generator, amount), (2,), timeless=rates == "absorbing")

    train, held = cells(points(name, 50_000, 100)), cells(points(name, 4000, 101))
    model, seconds = trained(
        make, Items(train), Items(held[:1000]), out / f"{name}-{rates}-{steps}", steps=steps, batch=256
    )
    # beside the bound of who knows the table, whose mean is the entropy, on the same points, times and jumps
    draws, exact = Draws.of(0, range(len(held)), "held"), TableDenoiser(table, model.path)
    bound = masked_bound if rates == "absorbing" else whole_bound
    with torch.no_grad():
        gap, truth = (bound(d, held, draws, 32).double() for d in (model.denoiser(), exact))
    gap, truth = ((b.mean(0) if b.ndim > 1 else b) for b in (gap - truth, truth))
    log_p = torch.log(table[held[:, 0], held[:, 1]].clamp(min=1e-9))
    n = 20_000
    samples = model.sample(Draws.of(1, range(n)), None, JumpSampling(None if rates == "absorbing" else 128))
    share = torch.bincount(samples[:, 0] * LEVELS + samples[:, 1], minlength=LEVELS**2).reshape(LEVELS, -1) / n
    other = cells(points(name, n, 200))
    floor = torch.bincount(other[:, 0] * LEVELS + other[:, 1], minlength=LEVELS**2).reshape(LEVELS, -1) / n
    return {
        "entropy": entropy,
        "gap": float(gap.mean()),
        "error": float(gap.std() / len(gap) ** 0.5),
        "truth": float((truth + log_p).mean()),
        "truth error": float((truth + log_p).std() / len(gap) ** 0.5),
        "variation": 0.5 * float((share - table).abs().sum()),
        "floor": 0.5 * float((floor - table).abs().sum()),
        "seconds": seconds,
        "steps": steps,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--only", nargs="*", default=["moons", "eight"])
    parser.add_argument("--rates", nargs="*", default=["absorbing", "uniform", "gaussian"])
    parser.add_argument("--out", type=Path, default=Path("runs/discrete-plane"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    for name in args.only:
        for rates in args.rates:
            key = f"{name}, {rates}, {args.steps} steps"
            one = kept(args.out / "results.json", key, lambda n=name, r=rates: run(n, r, args.steps, args.out))
            variation = f"{one['variation']:.3f} (floor {one['floor']:.3f})"
            print(
                f"| {key} | {one['entropy']:.3f} | {one['gap']:+.4f} ± {one['error']:.4f} | {variation} |", flush=True
            )
            good &= verdict(f"{key}, bound less entropy", one["gap"], 0.05)
            good &= verdict(f"{key}, total variation", one["variation"], 0.15)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
