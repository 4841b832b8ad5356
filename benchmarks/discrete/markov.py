"""Markov text of known entropy: 32 symbols of 8, learned by a transformer of 2 × 64 in 3,000 steps of 128.

The bound per symbol must lie within 0.03 nats of H/L. Pairs of neighbours of samples drawn one by one must be within
0.03 of their law in total variation.

    nice -n 10 .venv/bin/python benchmarks/discrete/markov.py [--steps 3000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from common import Items, kept, trained, verdict

from pushforward.models.discrete import Discrete, JumpSampling
from pushforward.networks.transformer import Transformer
from pushforward.numerics.counting import categorical
from pushforward.numerics.random import Draws
from pushforward.objectives.masked import Blocks
from pushforward.paths.amounts import LogLinear
from pushforward.paths.generators import Absorbing
from pushforward.paths.jump import JumpPath

LENGTH, SYMBOLS = 32, 8


def law():
    """Transitions (8, 8) with few likely successors, and their stationary law."""
    rows = Draws.of(0, range(SYMBOLS), "rows").uniform((SYMBOLS,), torch.float64) ** 4 + 0.01
    rows /= rows.sum(1, keepdim=True)
    start = torch.linalg.matrix_power(rows, 500)[0]
    return rows, start


def sequences(n, seed):
    rows, start = law()
    draws = Draws.of(seed, range(n), "markov")
    x = [categorical(start.expand(n, -1), draws.at(0))]
    for i in range(1, LENGTH):
        x.append(categorical(rows[x[-1]], draws.at(i)))
    return torch.stack(x, 1)


def log_p(x):
    rows, start = law()
    return torch.log(start)[x[:, 0]] + torch.log(rows)[x[:, :-1], x[:, 1:]].sum(1)


def run(steps, out):
    def make():
        network = Transformer(SYMBOLS + 1, SYMBOLS, LENGTH, 64, 2)
        return Discrete(network, JumpPath(Absorbing(SYMBOLS), LogLinear()), (LENGTH,))

    model, seconds = trained(make, Items(sequences(50_000, 1)), Items(sequences(500, 2)), out / "run", steps=steps)
    held = sequences(2000, 3)
    draws = Draws.of(0, range(len(held)), "held")
    gap = (-model.bound(held, None, draws, 32).nats + log_p(held)) / LENGTH
    blocks = (-model.bound(held[:500], None, draws[:500], 2, Blocks(4)).nats + log_p(held[:500])) / LENGTH
    rows, start = law()
    wanted, result = (start[:, None] * rows).flatten(), {}
    for name, way in {
        "one by one": JumpSampling(step=None),
        "8 steps": JumpSampling(8),
        "2 steps": JumpSampling(2),
    }.items():
        x = model.sample(Draws.of(5, range(1000)), None, way)
        share = torch.bincount((x[:, :-1] * SYMBOLS + x[:, 1:]).flatten(), minlength=SYMBOLS**2).double()
        result[name] = 0.5 * float((share / share.sum() - wanted).abs().sum())
    other = sequences(1000, 9)
    share = torch.bincount((other[:, :-1] * SYMBOLS + other[:, 1:]).flatten(), minlength=SYMBOLS**2).double()
    result["floor"] = 0.5 * float((share / share.sum() - wanted).abs().sum())
    entropy = float(-(start * start.log()).sum() - (LENGTH - 1) * (start[:, None] * rows * rows.log()).sum())
    return {
        "entropy": entropy / LENGTH,
        "gap": float(gap.mean()),
        "error": float(gap.std() / len(gap) ** 0.5),
        "gap, blocks of 4": float(blocks.mean()),
        "pairs": result,
        "seconds": seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("runs/discrete-markov"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    one = kept(args.out / "results.json", f"{args.steps} steps", lambda: run(args.steps, args.out))
    print(one)
    good = verdict("bound per symbol less entropy rate, nats", one["gap"], 0.03)
    good &= verdict("pairs drawn one by one, total variation", one["pairs"]["one by one"], 0.03)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
