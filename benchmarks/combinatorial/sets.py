"""Largest independent sets of random graphs: a graph prior against greedy rules, gaps to the proved optimum.

    python benchmarks/combinatorial/sets.py --nodes 40 --instances 100 --steps 1500

Controls in the same run: the greedy rule of least degree (a constant heat), random order; before and after
exchanges.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from pushforward.combinatorial import GraphDiffusion, GraphItems, IndependentSet, SolvedItems, gap, solved_sets
from pushforward.combinatorial.exact import largest_independent_set
from pushforward.combinatorial.features import OF_NODES
from pushforward.combinatorial.independent_set import random_graphs
from pushforward.networks.graph import GraphNet
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, find_checkpoint, fit, load_weights

WAYS = [(1, 1), (3, 1), (5, 1), (10, 1), (10, 4), (20, 1)]


def trained(nodes: int, probability: float, steps: int, width: int, out: Path) -> GraphDiffusion:
    torch.manual_seed(0)
    model = GraphDiffusion(GraphNet(OF_NODES, 2, 2, width, 5, of_pairs=False))
    solve = solved_sets(nodes, probability, 20)
    items, held = (GraphItems(SolvedItems(solve, count, 0, name)) for count, name in ((2048, "train"), (256, "held")))
    recipe = Recipe(steps=steps, batch_size=32, learning_rate=2e-3, device="cpu")
    fit(model, items, held, recipe, out, {})
    load_weights(model, find_checkpoint(out))
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--probability", type=float, default=0.15)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--controls-alone", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    n, keys = arguments.nodes, Draws.of(0, range(arguments.instances), "score")
    problem = IndependentSet(random_graphs(keys, n, arguments.probability))
    began = time.process_time()
    largest = np.array([largest_independent_set(edges).sum() for edges in problem.edges])
    print(f"optima proved in {time.process_time() - began:.1f} s, mean size {largest.mean():.2f}", flush=True)
    heats = {"least degree": problem.nothing(), "random order": keys.at("order").uniform((n,)).numpy() ** 8}
    if not arguments.controls_alone:
        name = arguments.out / f"sets{n}"
        model = trained(n, arguments.probability, arguments.steps, arguments.width, name)
        other = Draws.of(1, range(64), "choose")
        some = IndependentSet(random_graphs(other, n, arguments.probability))
        sizes = {way: -some.cost(some.decode(model.heat(some, other, *way))).mean() for way in WAYS}
        print({str(way): round(float(size), 3) for way, size in sizes.items()}, flush=True)
        heats["graph prior"] = model.heat(problem, keys, *max(sizes, key=lambda way: sizes[way]))
    gaps = {}
    for name, heat in heats.items():
        sets = problem.decode(heat)
        for label, found in ((name, sets), (f"{name} + exchanges", problem.improve(sets).solutions)):
            g = gaps[label] = 100 * gap(problem.cost(found), -largest)
            print(
                f"| {label} | {g.mean():.2f} ± {g.std(ddof=1) / len(g) ** 0.5:.2f} % | optimal {(g == 0).mean():.0%} |"
            )
    if "graph prior" in gaps:
        for tail in ("", " + exchanges"):
            d = gaps[f"graph prior{tail}"] - gaps[f"least degree{tail}"]
            error = d.std(ddof=1) / len(d) ** 0.5
            print(
                f"graph prior − least degree{tail}: {d.mean():.2f} ± {error:.2f}, "
                f"{(d < 0).sum()} won, {(d > 0).sum()} lost"
            )
    stem = arguments.out / f"sets{n}.json"
    stem.write_text(json.dumps({name: g.tolist() for name, g in gaps.items()}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
