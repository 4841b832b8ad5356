"""Tours of random cities: priors against what decoding finds without one, on the same instances, gaps to the optimum.

    python benchmarks/combinatorial/tours.py --cities 20 --instances 100 --minutes 10
    python benchmarks/combinatorial/tours.py --cities 50 --instances 100 --minutes 60
    python benchmarks/combinatorial/tours.py --cities 20 --instances 100 --prior image --minutes 40

Controls, measured in the same run: a constant heat (edges merged by 1/distance), a heat of random logits as the
published image prior starts from, random tours; each before and after 2-opt, and the shortest of several beside the
prior's shortest of as many. Each optimum is proved. How many steps
the graph prior takes is chosen on other instances, which are not scored. Processor seconds are of the batch.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from pushforward.combinatorial.exact import shortest_tour
from pushforward.combinatorial.problem import cheapest, gap
from pushforward.combinatorial.tsp import TravellingSalesman, near_optimal, random_cities, random_tours
from pushforward.config.tours import TourPrior, load_tours, tour_config, train_tours
from pushforward.numerics.random import Draws
from pushforward.report.tours import Drawing, sheet
from pushforward.training import JsonLines

WAYS = [(1, 1), (3, 6)]
"""(steps, repeats) that the graph prior may take."""
SEVERAL = 6
"""Chains of three steps, each decoded, of which the shortest tour is kept: the work of three steps and six repeats."""


class Scores:
    """Gaps of one set of instances, method by method, each with its processor seconds."""

    def __init__(self, problem: TravellingSalesman, optimum: np.ndarray) -> None:
        self.problem, self.optimum = problem, optimum
        self.gaps: dict[str, np.ndarray] = {}
        self.seconds: dict[str, float] = {}
        self.tours: dict[str, np.ndarray] = {}

    def add(self, name: str, make, of: int = 1) -> None:
        """`make(i)` gives a tour of each instance; of several the shortest is kept, before 2-opt and after."""
        began = time.process_time()
        several = [make(i) for i in range(of)]
        decoded = time.process_time() - began
        improved = [self.problem.improve(tours) for tours in several]
        tours, better = cheapest(self.problem, several), cheapest(self.problem, [found for found, _ in improved])
        moves = np.stack([found for _, found in improved])
        self.gaps[name] = gap(self.problem.cost(tours), self.optimum)
        self.gaps[f"{name} + 2-opt"] = gap(self.problem.cost(better), self.optimum)
        self.seconds[name], self.seconds[f"{name} + 2-opt"] = decoded, time.process_time() - began
        self.tours[name], self.tours[f"{name} + 2-opt"] = tours, better
        print(self.line(name), f"| {moves.mean():.1f} moves", flush=True)
        print(self.line(f"{name} + 2-opt"), flush=True)

    def line(self, name: str) -> str:
        g = 100 * self.gaps[name]
        error = g.std(ddof=1) / len(g) ** 0.5
        return f"| {name} | {g.mean():.2f} ± {error:.2f} % | {self.seconds[name]:.2f} s"

    def paired(self, one: str, other: str) -> dict[str, float]:
        """The mean of the differences one − other in percentage points, its standard error and a sign test."""
        d = 100 * (self.gaps[one] - self.gaps[other])
        error = float(d.std(ddof=1)) / len(d) ** 0.5
        return {"difference": float(d.mean()), "error": error, "wins": int((d < 0).sum()), "losses": int((d > 0).sum())}


def proved(problem: TravellingSalesman) -> tuple[np.ndarray, np.ndarray]:
    tours = np.stack([shortest_tour(d) for d in problem.distances])
    return tours, problem.cost(tours)


def chosen_way(prior: TourPrior, cities: int, count: int = 64) -> tuple[int, int]:
    """The steps and repeats with the least gap after 2-opt to near-optimal tours of other instances."""
    draws = Draws.of(1, range(count), "choose")
    problem = TravellingSalesman(random_cities(draws, cities))
    good = problem.cost(near_optimal(problem, draws, 10))
    found = {}
    for way in WAYS:
        tours = problem.decode(prior.heat(problem, draws, *way))
        found[way] = float(gap(problem.cost(problem.improve(tours).solutions), good).mean())
        print(f"steps, repeats {way}: {100 * found[way]:.2f} % after 2-opt", flush=True)
    return min(found, key=lambda way: found[way])


def controls(scores: Scores, draws: Draws) -> None:
    problem = scores.problem
    n = problem.sites[0]

    def random_latent(i: int) -> np.ndarray:
        logits = draws.at("latent", i).normal((n, n)).numpy()
        latent = np.exp(-0.1 * logits) * (1 - np.eye(n))
        return problem.decode(latent / latent.sum(2, keepdims=True))

    scores.add("constant heat", lambda i: problem.decode(problem.nothing()))
    scores.add("random latent", random_latent)
    scores.add(f"random latent, shortest of {SEVERAL}", random_latent, SEVERAL)
    scores.add("random tour", lambda i: random_tours(draws, n))
    scores.add(f"random tour, shortest of {SEVERAL}", lambda i: random_tours(draws.at("several", i), n), SEVERAL)


def picture(scores: Scores, optimal: np.ndarray, prior: TourPrior | None, name: str, out: Path) -> None:
    """One instance: the prior's states, its tour before and after 2-opt, the control, the optimum."""
    rows, drawings = [0, 1], []
    for row in rows:
        cities = scores.problem.cities[row]
        if prior is not None:
            alone = scores.problem.rows(np.array([row]))
            states = prior.states(alone, Draws.of(0, [row], "picture"), 3)
            drawings += [Drawing(cities, heat[0], f"heat, step {step}") for step, heat in states]
        for label in ([name, f"{name} + 2-opt"] if prior is not None else []) + ["constant heat"]:
            found = scores.tours[label][row]
            drawings.append(
                Drawing.of_tour(cities, found, f"{label}: +{max(0.0, 100 * scores.gaps[label][row]):.1f} %")
            )
        drawings.append(Drawing.of_tour(cities, optimal[row], "optimum"))
    sheet(drawings, len(drawings) // len(rows)).save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cities", type=int, default=20)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--prior", default="graph", choices=["graph", "image", "none"])
    parser.add_argument("--run", type=Path, default=None, help="where the prior is or will be trained")
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--width", type=int, default=None)
    parser.add_argument("--pixels", type=int, default=None, help="of the side of the image prior's pictures")
    parser.add_argument("--trained-on", type=int, default=None, help="cities of the instances that are learned")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--stop-after-training", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    n, kind = arguments.cities, arguments.prior
    prior, trained = None, 0.0
    if kind != "none":
        learned = arguments.trained_on or n
        run = arguments.run or arguments.out / f"tours{learned}-{kind}"
        config = tour_config(
            prior=kind,
            cities=learned,
            minutes=arguments.minutes,
            steps=arguments.steps,
            width=arguments.width,
            pixels=arguments.pixels,
        )
        began = time.process_time()
        outcome = train_tours(config, run, [JsonLines(run / "log.jsonl")])
        trained = time.process_time() - began
        print(f"trained: {outcome.step} steps, {trained:.0f} s of processor in this call, {outcome.best}", flush=True)
        prior = load_tours(run)
        if arguments.stop_after_training:
            return
    draws = Draws.of(0, range(arguments.instances), "score")
    problem = TravellingSalesman(random_cities(draws, n))
    began = time.process_time()
    optimal, optimum = proved(problem)
    print(f"{len(problem)} optima proved, mean {optimum.mean():.4f}, {time.process_time() - began:.1f} s", flush=True)
    scores = Scores(problem, optimum)
    controls(scores, draws)
    result = {"cities": n, "instances": len(problem), "optimum": float(optimum.mean()), "trained_seconds": trained}
    if prior is not None:
        way = chosen_way(prior, n) if kind == "graph" else (None, 1)
        scores.add(f"{kind} prior", lambda i: problem.decode(prior.heat(problem, draws, *way)))
        pairs = [(f"{kind} prior{tail}", f"constant heat{tail}") for tail in ("", " + 2-opt")]
        if kind == "graph":
            several = f"{kind} prior, shortest of {SEVERAL}"
            scores.add(several, lambda i: problem.decode(prior.heat(problem, draws.at("several", i), 3)), SEVERAL)
            pairs += [(several + tail, f"random latent, shortest of {SEVERAL}{tail}") for tail in ("", " + 2-opt")]
        result |= {"steps": way[0], "repeats": way[1]}
        result["paired"] = {f"{one} − {other}": scores.paired(one, other) for one, other in pairs}
        print(json.dumps(result["paired"], indent=1, ensure_ascii=False), flush=True)
    result["gaps"] = {name: float(g.mean()) for name, g in scores.gaps.items()}
    result["errors"] = {name: float(g.std(ddof=1)) / len(g) ** 0.5 for name, g in scores.gaps.items()}
    result["seconds"] = scores.seconds
    stem = arguments.out / f"tours{n}-{kind}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1, ensure_ascii=False))
    picture(scores, optimal, prior, f"{kind} prior", stem.with_suffix(".png"))


if __name__ == "__main__":
    main()
