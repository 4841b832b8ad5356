"""Modes found: the default adversarial model on 25 narrow Gaussians on a grid, several seeds, one process each in turn.

A generator that drops modes, or leaves samples between them, is what adversarial training is known for. The law: 25
equally likely Gaussians of deviation 0.05 on {−4, −2, 0, 2, 4}². It must show, on every seed: 25 of 25 modes (each with
at least 1 % of its due share of the samples within 3 deviations), at least 95 % of the samples within 3 deviations of a
mode, and a divergence of the shares of the modes from equal ones below 0.1 nats. `--loss ns` trains the non-saturating
loss without penalties instead, which is expected to fail somewhere and is only reported.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from pushforward.data.dataset import Batch
from pushforward.gan import NonSaturating, advice, modes
from pushforward.models.gan import GAN
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, find_checkpoint, fit, load_weights
from pushforward.training.observers import read_log

SIDE = torch.linspace(-4, 4, 5)
CENTRES = torch.cartesian_prod(SIDE, SIDE)
DEVIATION = 0.05
SCALE = float((CENTRES.square().mean() + DEVIATION**2).sqrt())
"""The standard deviation of each column: model units are standardised, as for any table."""


@dataclass(frozen=True)
class Grid:
    """Counted points of the law, in model units."""

    values: torch.Tensor

    @staticmethod
    def of(count: int, seed: int) -> Grid:
        draws = Draws.of(seed, range(count), "grid")
        points = CENTRES[draws.at("mode").integers(25)] + DEVIATION * draws.at("within").normal((2,))
        return Grid(points / SCALE)

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, indices: torch.Tensor) -> Batch:
        return Batch(self.values[indices])


def recipe(steps: int, batch: int, rate: float, seed: int) -> Recipe:
    return Recipe(
        batch_size=batch,
        steps=steps,
        learning_rate=rate,
        betas=(0.0, 0.99),
        clip_norm=None,
        seed=seed,
        device="cpu",
        ema_lengths=(0.05,),
        log_every=50,
        save_seconds=None,
        deterministic=False,
    )


@torch.no_grad()
def judge(model: GAN, seed: int, count: int = 20_000) -> tuple[int, float, float]:
    found = modes(model.eval().draw(Draws.of(seed, range(count))) * SCALE, CENTRES, DEVIATION)
    return found.covered, found.high_quality, found.imbalance


def run(args: argparse.Namespace, seed: int, out: Path) -> dict[str, float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GAN.of_shape((2,)) if args.loss == "default" else GAN.of_shape((2,), 0, None, None, NonSaturating(), ())
    began, wall = time.process_time(), time.perf_counter()
    plan = recipe(args.steps, args.batch, args.rate, seed)
    fit(model, Grid.of(50_000, seed), Grid.of(1024, seed + 1000), plan, out, {})
    seconds, wall = time.process_time() - began, time.perf_counter() - wall
    raw = judge(model, seed)
    load_weights(model, find_checkpoint(out))
    covered, quality, imbalance = judge(model, seed)
    log = read_log(out / "metrics.jsonl")
    found = {
        "seed": seed,
        "modes": covered,
        "high_quality": round(quality, 4),
        "imbalance": round(imbalance, 4),
        "high_quality_raw": round(raw[1], 4),
        "cpu_seconds": round(seconds, 1),
        "wall_seconds": round(wall, 1),
        "energy": [e["validation"]["ema-0.050"] for e in log if "validation" in e][-1],
        "figures": {k: round(v, 3) for k, v in [e for e in log if "figures" in e][-1]["figures"].items()},
        "advice": advice(log),
    }
    print(json.dumps(found, ensure_ascii=False), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--loss", choices=["default", "ns"], default="default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(args, seed, Path(folder)))
    print("| seed | modes | high quality | imbalance, nats | processor seconds |\n|---|---|---|---|---|")
    for row in rows:
        print("| {seed} | {modes} | {high_quality:.1%} | {imbalance:.3f} | {cpu_seconds:.0f} |".format(**row))
    if args.loss != "default":
        return 0
    good = [r["modes"] == 25 and r["high_quality"] >= 0.95 and r["imbalance"] < 0.1 for r in rows]
    print(f"{'ok' if all(good) else 'MISS'}: {sum(good)} of {len(good)} seeds with 25 modes and 95 % high quality")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
