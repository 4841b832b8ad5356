"""How decoding and 2-opt grow with the number of cities: processor seconds per instance, of 100 at once.

    OMP_NUM_THREADS=1 python benchmarks/combinatorial/growth.py

The start is the constant heat; the graph network is an untrained one of width 32 and depth 5, evaluated once for 20.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from pushforward.combinatorial import GraphDiffusion, TravellingSalesman, random_cities
from pushforward.combinatorial.features import OF_CITIES
from pushforward.networks.graph import GraphNet
from pushforward.numerics.random import Draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cities", type=int, nargs="+", default=[20, 50, 100, 200])
    parser.add_argument("--instances", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = GraphDiffusion(GraphNet(OF_CITIES, 2, 2, 32, 5)).eval()
    print("| cities | merging | 2-opt | moves | one evaluation of the network |")
    for n in arguments.cities:
        draws = Draws.of(0, range(arguments.instances))
        problem = TravellingSalesman(random_cities(draws, n))
        at = [time.process_time()]
        tours = problem.decode(problem.nothing())
        at.append(time.process_time())
        _, moves = problem.improve(tours)
        at.append(time.process_time())
        some = problem.rows(np.arange(20))
        model.heat(some, Draws.of(0, range(20)), 1)
        merge, improve, evaluate = (1e3 * d for d in np.diff([*at, time.process_time()]))
        count = len(problem)
        row = (
            f"| {n} | {merge / count:.2f} ms | {improve / count:.2f} ms | {moves.mean():.1f} | {evaluate / 20:.1f} ms |"
        )
        print(row, flush=True)


if __name__ == "__main__":
    main()
