"""The comparison itself, run by run.py in the peers' environment."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import torch

from accuracy import ours, peers_azula, peers_diffusers, peers_kdiffusion
from accuracy.problem import PATHS, Errors, Problem
from pushforward.samplers.tuning import Effort, TuningResult
from targets import NAMES

RESULTS = Path(__file__).resolve().parents[1] / "results"
BUDGETS = (5, 8, 10, 15, 20, 30, 50, 100)
PEERS = (peers_diffusers, peers_kdiffusion, peers_azula)
SCREENS = ((512, 10), (4096, 3))
"""Every setting runs on the first 512 starts; the 10 best there, in each figure, on 4,096; the 3 best there on all."""
STARTS = {"aniso8": 16_384, "lowrank64": 65_536}
"""Where single starts that end in another mode are nearly all of the error, four times as many are needed."""
PARTS = ("peers", "default", "tuned")


@dataclass
class Row:
    """One problem at one number of evaluations."""

    starts: int
    target: str
    path: str
    evaluations: int
    default: Errors
    best_rms: tuple[str, Errors]
    best_median: tuple[str, Errors]
    tuned: Errors | None = None
    diffusers_default: Errors | None = None
    held_out: dict = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The default sampler's RMS over the best of any peer."""
        return self.default.rms / self.best_rms[1].rms


@dataclass(frozen=True)
class Bound:
    what: str
    value: float
    limit: float

    @property
    def kept(self) -> bool:
        return self.value <= self.limit


def stored_rows(files: list[Path]) -> dict[tuple[str, str, int, int], Row]:
    """(target, path, evaluations, starts) -> the row of an earlier run; its peers answer the same starts the same."""
    rows = [row_of(row) for file in files for row in json.loads(file.read_text())["rows"]]
    return {(row.target, row.path, row.evaluations, row.starts): row for row in rows}


def row_of(stored: dict) -> Row:
    errors = {name: stored[name] and Errors(**stored[name]) for name in ("default", "tuned", "diffusers_default")}
    best = {name: (stored[name][0], Errors(**stored[name][1])) for name in ("best_rms", "best_median")}
    return Row(**stored | errors | best)


def peers_at(problem: Problem, evaluations: int) -> dict[str, Errors]:
    names: set[str] | None = None
    for count, kept in SCREENS:
        if count >= len(problem.starts):
            continue
        few = run_peers(problem.first(count), evaluations, names)
        names = {peers_diffusers.DEFAULT}
        for figure in ("rms", "median"):
            names |= {name for name, _ in sorted(few.items(), key=lambda one: getattr(one[1], figure))[:kept]}
    return run_peers(problem, evaluations, names)


def run_peers(problem: Problem, evaluations: int, names: set[str] | None) -> dict[str, Errors]:
    """The errors of all settings, or of those of these names, that this number of evaluations is possible with."""
    found = {}
    for peer in PEERS:
        for name, run in peer.settings(problem):
            ends = run(evaluations) if names is None or name in names else None
            if ends is not None:
                found[name] = problem.errors(ends)
    return found


def measured(problem: Problem, evaluations: int, parts: Sequence[str], effort: Effort, stored: Row | None) -> Row:
    """The row with these parts measured, and the rest as it was stored."""
    if stored is None or "peers" in parts:
        peers = peers_at(problem, evaluations)
        best = [min(peers.items(), key=lambda one: getattr(one[1], name)) for name in ("rms", "median")]
        default = problem.errors(ours.default(problem, evaluations))
        usual = peers.get(peers_diffusers.DEFAULT)
        row = Row(
            len(problem.starts), problem.target, problem.kind, evaluations, default, *best, diffusers_default=usual
        )
    elif "default" in parts:
        row = replace(stored, default=problem.errors(ours.default(problem, evaluations)))
    else:
        row = replace(stored)
    if "tuned" in parts and evaluations in ours.TUNED_AT:
        ends, result = ours.tuned(problem, evaluations, effort)
        row.tuned = None if ends is None else problem.errors(ends)
        row.held_out = _facts(result)
    return row


def _facts(result: TuningResult) -> dict:
    return {"reason": result.reason, "tuned": result.tuned._asdict(), "default": result.default._asdict()}


def bounds(rows: list[Row]) -> list[Bound]:
    found = []
    for name, kind in {(row.target, row.path): None for row in rows}:
        mine = [row for row in rows if (row.target, row.path) == (name, kind)]
        where = f"{name} {kind}"
        ratios = [row.ratio for row in mine]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        found += [
            Bound(f"{where}: default / best peer, geometric mean", mean, 1.2),
            Bound(f"{where}: default / best peer, worst", max(ratios), 1.5),
        ]
        for row in mine:
            found += _bounds_of(row, f"{where} at {row.evaluations}")
    return found


def _bounds_of(row: Row, where: str) -> list[Bound]:
    found = []
    if row.evaluations == 20 and row.diffusers_default:
        ratio = row.default.rms / row.diffusers_default.rms
        found.append(Bound(f"{where}: default / diffusers' DPM++2M as it comes", ratio, 1 / 3))
    if row.evaluations == 100 and row.path == "VP" and row.target == "aniso8":
        found.append(Bound(f"{where}: default, RMS", row.default.rms, 1e-4))
    if row.held_out:
        exact = row.target == "aniso8"
        tuned = row.tuned or row.default  # where tuning is refused, the default sampler is what runs
        rms = tuned.rms / row.best_rms[1].rms
        found.append(Bound(f"{where}: tuned / best peer, RMS", rms, 0.5 if exact else 1.0))
        if exact:
            median = tuned.median / row.best_median[1].median
            found.append(Bound(f"{where}: tuned / best peer, median", median, 1 / 8))
    return found


def _show(errors: Errors | None) -> str:
    return f"{errors.rms:.1e} / {errors.median:.1e}" if errors else "–"


def print_table(rows: list[Row]) -> None:
    print("RMS per coordinate / median sample, distance to the exact endpoint\n")
    print("| target | path | evaluations | default | tuned | best peer, RMS | best peer, median | default / best |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        best, middle = row.best_rms, row.best_median
        print(
            f"| {row.target} | {row.path} | {row.evaluations} | {_show(row.default)} | {_show(row.tuned)} | "
            f"{_show(best[1])} {best[0]} | {_show(middle[1])} {middle[0]} | {row.ratio:.2f} |"
        )


def print_bounds(found: list[Bound]) -> None:
    print()
    for bound in found:
        print(f"{'ok  ' if bound.kept else 'MISS'}  {bound.what}: {bound.value:.3g} (at most {bound.limit:.3g})")


def save(file: Path, rows: list[Row], found: list[Bound]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("torch", "diffusers", "azula", "k-diffusion")}
    stored = {
        "versions": versions,
        "rows": [asdict(row) for row in rows],
        "bounds": [asdict(bound) | {"kept": bound.kept} for bound in found],
    }
    file.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--environment", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--stochastic", action="store_true")
    parser.add_argument("--targets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--paths", nargs="+", choices=tuple(PATHS), default=tuple(PATHS))
    parser.add_argument("--evaluations", nargs="+", type=int)
    parser.add_argument("--starts", type=int)
    parser.add_argument("--keep", nargs="+", type=Path, default=[])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    torch.set_num_threads(1)
    if options.stochastic:
        from accuracy.stochastic import main as stochastic

        return stochastic(options.quick, options.output)
    budgets = options.evaluations or ((5, 10, 20, 50) if options.quick else BUDGETS)
    effort = Effort(starts=1024, batch=128, steps=300, validation=256, held_out=512) if options.quick else Effort()
    output = options.output or (None if options.quick else RESULTS / "accuracy.json")
    rows: list[Row] = []
    known = stored_rows(options.keep)
    for name, kind in itertools.product(options.targets, options.paths):
        starts = options.starts or (512 if options.quick else STARTS[name])
        problem = Problem.of(name, kind, starts, options.cache)
        for evaluations in budgets:
            began, stored = time.perf_counter(), known.get((name, kind, evaluations, starts))
            rows.append(measured(problem, evaluations, options.parts, effort, stored))
            print(f"{name} {kind} {evaluations}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            if output:
                save(output, rows, bounds(rows))  # a long run that is broken off leaves what it has
    if output:
        save(output, rows, bounds(rows))
    found = bounds(rows)
    print_table(rows)
    print_bounds(found)
    return 0 if all(bound.kept for bound in found) else 1


if __name__ == "__main__":
    sys.exit(main())
