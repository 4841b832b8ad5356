"""Exact samplers beside the exact posterior: what they leave invariant, and what they reach from scratch.

    .venv/bin/python benchmarks/posterior/exact.py [--only TEXT] [--on TEXT] [--missing] [--pairs 12] [--samples 96]

The four problems of `benchmarks/inverse/exact.py` and its five measures: mean error / excess sliced Wasserstein /
variance ratio / coverage of 90 % / χ² relative to the exact posterior's; draws are in float32. A row passes a problem
where the first two are below 0.15, the variance ratio is in [0.9, 1.1], the coverage in [0.85, 0.93] and χ² within 10
% of the exact. The invariance rows start from exact draws, and need no mixing; all others start from noise. Results
are kept in `benchmarks/results/posterior_exact.json`; rows that are run again replace the old ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "inverse"))
from problem import OPERATORS, SHAPE, Problem, denoiser, score

from pushforward.inverse import Guidance, PiGDM
from pushforward.numerics.random import Draws
from pushforward.posterior import Posterior, Question, SplitGibbs, Tempering, Twisted, infer

RESULTS = Path(__file__).parents[1] / "results" / "posterior_exact.json"


def question(problem: Problem) -> Question:
    return Question(denoiser(), problem.likelihood, SHAPE, len(problem.truth))


def invariance(inner: int, sweeps: int) -> Callable[[Problem, int, int], Posterior]:
    """Sweeps from exact draws of the posteriors."""

    def run(problem: Problem, samples: int, seed: int) -> Posterior:
        items = len(problem.truth)
        start = problem.exact[0][:samples].reshape(samples * items, *SHAPE).float()
        index = torch.arange(items).repeat(samples)
        draws = Draws.of(seed, range(len(index)), "invariance")
        chains = SplitGibbs(inner).moved(denoiser(), problem.likelihood.select(index), start, sweeps, draws)
        drawn, trace = (v.unflatten(a, (samples, items)) for v, a in ((chains.x, 0), (chains.trace, 1)))
        return Posterior(drawn, inner * sweeps, problem.likelihood, trace=trace)

    return run


def scratch(method: object, evaluations: int) -> Callable[[Problem, int, int], Posterior]:
    def run(problem: Problem, samples: int, seed: int) -> Posterior:
        return infer(method, question(problem), samples=samples, evaluations=evaluations, seed=seed).resampled()

    return run


def in_crowds(method: object, evaluations: int, size: int) -> Callable[[Problem, int, int], Posterior]:
    """As many draws, by crowds of a few that know nothing of one another."""

    def run(problem: Problem, samples: int, seed: int) -> Posterior:
        seeds = range(seed, seed + samples // size)
        parts = [scratch(method, evaluations)(problem, size, s).samples for s in seeds]
        return Posterior(torch.cat(parts), float(evaluations), problem.likelihood)

    return run


ROWS = {
    "invariance, 20 sweeps of 10": invariance(10, 20),
    "invariance, 50 sweeps of 10": invariance(10, 50),
    "PiGDM, 50 evaluations": scratch(Guidance(PiGDM()), 50),
    "split Gibbs, 500": scratch(SplitGibbs(), 500),
    "split Gibbs, 1000": scratch(SplitGibbs(), 1000),
    "split Gibbs, 2000": scratch(SplitGibbs(), 2000),
    "tempering, 500": scratch(Tempering(), 500),
    "tempering, 1000, crowds of 16": in_crowds(Tempering(), 1000, 16),
    "tempering, 1000": scratch(Tempering(), 1000),
    "tempering, 2000": scratch(Tempering(), 2000),
    "twisted SMC, 100": scratch(Twisted(), 100),
}


def chi2_of_exact(problem: Problem) -> float:
    draws: Tensor = problem.exact[0].unflatten(2, SHAPE)
    return float(torch.stack([problem.likelihood.chi2(x) for x in draws]).mean())


def passes(result: dict[str, float]) -> bool:
    return (
        result["error"] < 0.15
        and result["distance"] < 0.15
        and 0.9 <= result["variance"] <= 1.1
        and 0.85 <= result["coverage"] <= 0.93
        and abs(result["chi2"] - 1) < 0.1
    )


def measure(name: str, problem: Problem, samples: int, seed: int) -> dict[str, float]:
    began = time.process_time()
    answer = ROWS[name](problem, samples, seed)
    seconds = time.process_time() - began
    found = asdict(score(problem, answer.samples.double()))
    found["chi2"] /= chi2_of_exact(problem)
    rhat, worth = answer.rhat, answer.sweeps_worth
    if rhat is not None:
        found["rhat"] = float(rhat.max())
    if worth is not None:
        found["worth"] = float(worth.min())
    size = {"pairs": len(problem.truth), "samples": samples}
    return found | size | {"evaluations": answer.evaluations, "seconds": round(seconds, 1)}


def cell(result: dict[str, float]) -> str:
    told = " / ".join(f"{result[name]:.2f}" for name in ("error", "distance", "variance", "coverage", "chi2"))
    return f"{told}{' ✓' if passes(result) else ''}" + (f" (R̂ {result['rhat']:.2f})" if "rhat" in result else "")


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| method | " + " | ".join(OPERATORS) + " | evaluations | s |", "|---" * (len(OPERATORS) + 3) + "|"]
    for name in ROWS:
        if name in results:
            found = results[name]
            cells = [cell(found[p]) if p in found else "" for p in OPERATORS]
            price = max(r["evaluations"] for r in found.values()), max(r["seconds"] for r in found.values())
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {price[0]:.0f} | {price[1]:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="rows whose name contains this")
    parser.add_argument("--on", default="", help="problems whose name contains this")
    parser.add_argument("--missing", action="store_true", help="only what is not in the results yet")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print the table of what was measured, run nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not asked.table:
        chosen = [n for n in ROWS if not asked.only or any(text in n for text in asked.only)]
        for problem in (Problem.of(name, asked.pairs, asked.samples) for name in OPERATORS if asked.on in name):
            for name in chosen:
                if asked.missing and problem.name in results.get(name, {}):
                    continue
                found = measure(name, problem, asked.samples, asked.seed)
                # Others may write at the same time: the file is read again.
                results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                results.setdefault(name, {})[problem.name] = found
                RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
                print(f"{problem.name}: {name}: {cell(found)} {found['seconds']} s", file=sys.stderr)
    print(table(results))


if __name__ == "__main__":
    main()
