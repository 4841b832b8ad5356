"""Every method beside the exact posterior: four problems, a mixture of ten Gaussians on 8×8 digits as the prior.

    .venv/bin/python benchmarks/inverse/exact.py [--only TEXT] [--on TEXT] [--missing] [--pairs 16] [--samples 96]

Each cell is mean error / excess sliced Wasserstein / variance ratio / coverage of 90 % / χ²; see `problem.Score`. The
row of the exact score with the same solver is what a method without error of its own gives. Results are kept in
`benchmarks/results/inverse_exact.json`, where rows that are run again replace the old ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from methods import METHODS, Entry
from problem import OPERATORS, SHAPE, Problem, Score, denoiser, score

from pushforward.errors import PushforwardError
from pushforward.inverse import posterior_samples

RESULTS = Path(__file__).parents[1] / "results" / "inverse_exact.json"


def run(entry: Entry, problem: Problem, samples: int, seed: int) -> tuple[Score, float]:
    """The score of one method on one problem, and its seconds of processor time."""
    began = time.process_time()
    draws = posterior_samples(
        entry.method,
        denoiser(),
        problem.likelihood,
        SHAPE,
        items=len(problem.truth),
        samples=samples,
        evaluations=entry.evaluations,
        seed=seed,
        dtype=torch.float64,
    )
    return score(problem, draws), time.process_time() - began


def cell(result: dict[str, float]) -> str:
    if "refused" in result:
        return "—"
    return " / ".join(
        f"{result[name]:.2f}" if abs(result[name]) < 100 else f"{result[name]:.0e}"
        for name in ("error", "distance", "variance", "coverage", "chi2")
    )


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| method (evaluations) | " + " | ".join(OPERATORS) + " |", "|---" * (len(OPERATORS) + 1) + "|"]
    for name, entry in METHODS.items():
        if name in results:
            shown = f"*{name}* ({entry.evaluations})" if entry.control else f"{name} ({entry.evaluations})"
            cells = [cell(results[name][p]) if p in results[name] else "" for p in OPERATORS]
            lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="methods whose name contains this")
    parser.add_argument("--on", default="", help="problems whose name contains this")
    parser.add_argument("--missing", action="store_true", help="only what is not in the results yet")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print the table of what was measured, run nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not asked.table:
        chosen = {n: e for n, e in METHODS.items() if not asked.only or any(text in n for text in asked.only)}
        for problem in (Problem.of(name, asked.pairs, asked.samples) for name in OPERATORS if asked.on in name):
            for name, entry in chosen.items():
                if asked.missing and problem.name in results.get(name, {}):
                    continue
                try:
                    found, seconds = run(entry, problem, asked.samples, asked.seed)
                    result = asdict(found) | {"seconds": round(seconds, 1)}
                except PushforwardError as reason:
                    result = {"refused": str(reason)}
                # Others may write at the same time: the file is read again.
                results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                results.setdefault(name, {})[problem.name] = result
                RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
                print(f"{problem.name}: {name}: {cell(result)} {result.get('seconds', result)}", file=sys.stderr)
    print(table(results))


if __name__ == "__main__":
    main()
