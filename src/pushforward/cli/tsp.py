"""`pushforward tsp`: the shortest way through all cities, by search, by a trained prior, or proved."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from pushforward.cli.output import DEFAULT, Common, quoted
from pushforward.errors import PushforwardError, UserError

if TYPE_CHECKING:
    import numpy as np

    from pushforward.combinatorial.tsp import TravellingSalesman

_MOST = 2000
"""Cities: all pairs are held in memory and looked at in each move."""
TSP = App(
    name="tsp",
    help="The travelling salesman: the shortest closed tour of cities in the plane; a prior of tours is trained and "
    "asked here. --json, --quiet and --debug are known to both commands.",
)

_SOLVE = """Examples:
  pushforward tsp solve cities.csv -o tour.csv
  pushforward tsp solve cities.csv --run runs/tours20-graph -o tour.png
  pushforward tsp solve cities.csv --exact --json
cities.csv holds one row per city: two columns of numbers, or columns named x and y among others."""

_TRAIN = """Examples:
  pushforward tsp train --cities 20 --minutes 30
  pushforward tsp train --prior image --cities 20 --steps 8000 --out runs/pictures"""


@TSP.command(name="solve", help_epilogue=_SOLVE)
def solve(
    cities: Annotated[Path, Parameter(name="CITIES", help="a .csv or .tsv table with one row per city")],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(name=("--out", "-o"), help=".csv: the rows in the order of the tour; .png: a picture [none]"),
    ] = None,
    run: Annotated[Path | None, Parameter(help="a prior of tours, from `tsp train` [search without one]")] = None,
    exact: Annotated[
        bool, Parameter(negative=(), show_default=False, help="prove the shortest tour, and show how far ours is")
    ] = False,
    kicks: Annotated[int, Parameter(help="of the local search after the first tour; 0: 2-opt alone")] = 100,
    seconds: Annotated[float, Parameter(help="for the proof")] = 60.0,
    seed: Annotated[int, Parameter(help="of the prior's noise and of the kicks")] = 0,
    common: Common = DEFAULT,
) -> None:
    """Find a short tour of a table of cities: merged edges, 2-opt, then kicks; with --exact, the shortest."""
    from pushforward.combinatorial.tsp import TravellingSalesman, check_cities
    from pushforward.data.cities import read_cities

    if out is not None and out.suffix.lower() not in (".csv", ".tsv", ".png"):
        raise UserError(f"a tour is written as .csv, .tsv or .png; got {out}")
    if kicks < 0:
        raise UserError(f"the number of kicks must be at least 0; got {kicks}")
    if not seconds > 0:
        raise UserError(f"--seconds must be above 0; got {seconds}")
    table = read_cities(cities)
    places = check_cities(table.places, str(cities))
    if len(places) > _MOST:
        raise UserError(f"{cities} has {len(places)} cities, and at most {_MOST} are solved here: take a part of them")
    if table.in_degrees:
        common.say(
            "longitudes and latitudes are taken for places in a plane, where a degree is as long to the east as to the "
            "north; project them first where that is not near enough"
        )
    problem = TravellingSalesman(places[None])
    began = time.perf_counter()
    tour, values = _short(problem, run, kicks, seed, common)
    optimal = _proved(problem, seconds, values, common) if exact else None
    values["seconds"] = round(time.perf_counter() - began, 3)
    best = tour if optimal is None else optimal
    values |= {"tour": [int(city) + 1 for city in best], "out": out}
    if out is not None and out.suffix.lower() == ".png":
        _draw(problem, tour, optimal, values, out)
    elif out is not None:
        table.write(out, best)
    common.result(values, *_lines(values))


@TSP.command(name="train", help_epilogue=_TRAIN)
def train(
    *,
    cities: Annotated[int, Parameter(help="of the tours that are learned")] = 20,
    prior: Annotated[str, Parameter(help="graph: edges by a graph network; image: pictures by a U-Net")] = "graph",
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="folder of the run [runs/toursN-PRIOR]")] = None,
    steps: Annotated[int | None, Parameter(help="optimiser steps [4000]")] = None,
    minutes: Annotated[float | None, Parameter(help="train for about this long instead")] = None,
    instances: Annotated[int | None, Parameter(help="solved on the spot to learn from [2048]")] = None,
    width: Annotated[int | None, Parameter(help="of the network [32]")] = None,
    seed: Annotated[int, Parameter(help="of all randomness, the instances included")] = 0,
    restart: Annotated[
        bool, Parameter(negative=(), show_default=False, help="begin anew; an earlier run is moved aside")
    ] = False,
    common: Common = DEFAULT,
) -> None:
    """Train a prior of tours on instances solved on the spot; the same command continues an interrupted run."""
    from pushforward.config.tours import tour_config, train_tours
    from pushforward.training.progress import ProgressBar, duration

    if steps is not None and minutes is not None:
        raise UserError("--steps and --minutes were both given; a training has one length, give one of them")
    config = tour_config(
        prior=prior, cities=cities, steps=steps, minutes=minutes, instances=instances, width=width, seed=seed
    )
    out = out or Path("runs") / f"tours{cities}-{prior}"
    common.say(f"{config.instances} instances of {cities} cities are solved as they are needed; training in {out}")
    outcome = train_tours(config, out, [ProgressBar(common.console())], restart=restart)
    best = outcome.best
    values = {"run": out, "step": outcome.step, "total": outcome.total, "seconds": round(outcome.seconds, 3)}
    values |= {"validation": best.value if best else None, "notes": list(outcome.notes)}
    score = f"; best validation loss {best.value:.4g} at step {best.step}" if best else ""
    common.result(
        values,
        f"done: {outcome.step} steps in {duration(outcome.seconds)}{score}",
        f"the prior is in {out}; what to do next: pushforward tsp solve cities.csv --run {quoted(out)} -o tour.png",
    )


def _short(
    problem: TravellingSalesman, run: Path | None, kicks: int, seed: int, common: Common
) -> tuple[np.ndarray, dict[str, Any]]:
    """A short tour (n,), and the lengths on the way to it."""
    from pushforward.cli.bar import Bar
    from pushforward.combinatorial.tsp import near_optimal
    from pushforward.config.tours import load_tours
    from pushforward.numerics.random import Draws

    draws = Draws.of(seed, [0], "tour")
    heats = [problem.nothing()] if run is None else load_tours(run).heats(problem, draws)
    several = [problem.decode(heat) for heat in heats]
    found = [problem.improve(tours) for tours in several]
    at = min(range(len(found)), key=lambda i: float(problem.cost(found[i].solutions)[0]))
    first, (improved, moves) = several[at], found[at]
    tour = improved
    if kicks:
        with Bar(common, "kicks", kicks) as bar:
            tour = near_optimal(problem, draws, kicks, improved, bar)
    values = {
        "cities": problem.sites[0],
        "run": run,
        "merged": float(problem.cost(first)[0]),
        "two_opt": float(problem.cost(improved)[0]),
        "moves": int(moves[0]),
        "length": float(problem.cost(tour)[0]),
        "proved": False,
    }
    return tour[0], values


def _proved(problem: TravellingSalesman, seconds: float, values: dict[str, Any], common: Common) -> np.ndarray | None:
    """The shortest tour, or None after saying why, so that what was found is not lost."""
    from pushforward.combinatorial.exact import shortest_tour

    try:
        optimal = shortest_tour(problem.distances[0], seconds)
    except PushforwardError as error:
        common.say(f"{error}; give more --seconds. The tour that was found is kept")
        return None
    shortest = float(problem.cost(optimal[None])[0])
    values |= {
        "found": values["length"],
        "gap": max(0.0, values["length"] / shortest - 1),
        "length": shortest,
        "proved": True,
    }
    return optimal


def _draw(
    problem: TravellingSalesman, tour: np.ndarray, optimal: np.ndarray | None, values: dict[str, Any], out: Path
) -> None:
    from pushforward.data.atomic import write_file
    from pushforward.report.tours import Drawing, sheet

    found = values.get("found", values["length"])
    drawings = [Drawing.of_tour(problem.cities[0], tour, f"length {found:.4g}")]
    if optimal is not None:
        drawings.append(Drawing.of_tour(problem.cities[0], optimal, f"shortest {values['length']:.4g}"))
    write_file(out, lambda file: sheet(drawings, size=480).save(file))


def _lines(values: dict[str, Any]) -> list[str]:
    lines = [
        f"{values['cities']} cities: {values['merged']:.6g} merged, {values['two_opt']:.6g} after {values['moves']} "
        f"moves of 2-opt, {values.get('found', values['length']):.6g} after the search, {values['seconds']:g} s",
    ]
    if values["proved"]:
        lines.append(f"shortest, proved: {values['length']:.6g}; what was found is {100 * values['gap']:.2f} % longer")
    if values["out"] is None:
        lines.append("tour: " + " ".join(map(str, values["tour"])))
    else:
        lines.append(f"written to {values['out']}")
    return lines
