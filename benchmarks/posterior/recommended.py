"""Is what `recommend` takes by default right, and does it say so where it is not?

    .venv/bin/python benchmarks/posterior/recommended.py [--pairs 12] [--samples 96] [--most 1000] [--on TEXT]

On the four problems of `exact.py`: the method is chosen on simulated items alone, 24 of them with 19 draws each as on
the command line; then it restores the problem's own pairs, and the five measures of `exact.py` say whether it is right.
`--missing` runs what is not in `benchmarks/results/posterior_recommended.json` yet.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict

import torch
from exact import cell, chi2_of_exact, passes, question
from problem import OPERATORS, Problem, score

from pushforward.posterior import infer, recommend, usual_candidates
from results import keep, read

ITEMS, DRAWS = 24, 19


def measure(problem: Problem, samples: int, most: int) -> dict[str, object]:
    asked = question(problem)
    began = time.process_time()
    advice = recommend(asked, items=ITEMS, samples=DRAWS, most=most, at_once=None)
    chosen = time.process_time() - began
    [taken] = [c for c in usual_candidates(asked, most) if (c.name, c.evaluations) == (advice.name, advice.evaluations)]
    answer = infer(taken.method, asked, samples=samples, evaluations=taken.evaluations).resampled()
    found = asdict(score(problem, answer.samples.double()))
    found["chi2"] /= chi2_of_exact(problem)
    rest = {
        "method": taken.name,
        "evaluations": taken.evaluations,
        "says": advice.calibrated,
        "right": passes(found),
        "tried": [trial.told() for trial in advice.trials],
        "seconds": round(chosen, 1),
    }
    return found | rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--on", default="", help="problems whose name contains this")
    parser.add_argument("--missing", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in OPERATORS:
        if asked.on not in name or (asked.missing and name in read("posterior_recommended")):
            continue
        found = measure(Problem.of(name, asked.pairs, asked.samples), asked.samples, asked.most)
        keep("posterior_recommended", name, found)
        print(*found["tried"], sep="\n", file=sys.stderr)
        told = "right" if found["says"] else "wrong"
        print(f"{name}: {found['method']} ({found['evaluations']}), said to be {told}: {cell(found)}", file=sys.stderr)


if __name__ == "__main__":
    main()
