"""What sampling costs: cached masked sampling beside uncached at equal steps, tokens per second beside the network.

OMP_NUM_THREADS=1 .venv/bin/python benchmarks/discrete/cost.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from common import verdict

from pushforward.models.discrete import Discrete, JumpSampling
from pushforward.networks.transformer import Transformer
from pushforward.numerics.random import Draws
from pushforward.paths.amounts import LogLinear
from pushforward.paths.generators import Absorbing
from pushforward.paths.jump import JumpPath
from pushforward.samplers.jump import JumpAncestral

SYMBOLS, LENGTH = 64, 64


def seconds(work):
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=256)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Transformer(SYMBOLS + 1, SYMBOLS, LENGTH, 128, 4)
    model = Discrete(network, JumpPath(Absorbing(SYMBOLS), LogLinear()), (LENGTH,)).eval()
    draws = Draws.of(0, range(args.batch))
    x, time_of = torch.zeros(args.batch, LENGTH, dtype=torch.int64), torch.zeros(args.batch)

    def bare():
        with torch.no_grad():
            for _ in range(args.steps):
                network(x, time_of)

    def drawn(keep):
        with torch.no_grad():
            model.sample(draws, None, JumpSampling(args.steps, JumpAncestral(keep)))

    ways = {"bare network": bare, "cached": lambda: drawn(True), "uncached": lambda: drawn(False)}
    for work in ways.values():
        work()
    taken = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, work in ways.items():
            taken[name].append(seconds(work))
    middle = {name: statistics.median(values) for name, values in taken.items()}
    tokens = args.batch * LENGTH
    for name, value in middle.items():
        print(f"| {name} | {value:.3f} s | {tokens / value:.0f} tokens/s |")
    good = verdict("cached over uncached, times faster", middle["uncached"] / middle["cached"], 2.0, "above")
    good &= verdict("uncached over the bare network", middle["uncached"] / middle["bare network"], 1.2)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
