"""A trained network as the prior: are its restorations calibrated, what do they cost, and what does a scale repair?

    .venv/bin/python benchmarks/posterior/network.py RUN --operator FILE [--items 200] [--method exact --method pigdm …]

For each method, `pushforward calibrate`: ranks of sums, norms, projections and log p(y | x) on items that the network
drew itself, residuals and the Stein test, which need no truth, coverage on true items of the test split, and the
coverage of conformal intervals on those of them that they were not fitted on. With --priced, also the price of 64 draws
for each of 16 images. Entries are named by the run, the operator and the method; results:
`benchmarks/results/posterior_network.json`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from pushforward import api
from pushforward.config.methods import named_method
from pushforward.config.operators import read_measurement
from pushforward.report.calibration_page import calibration_values
from results import keep, read


def price(run: object, config: object, folder: Path, method: str) -> dict[str, float]:
    """Seconds and evaluations of 64 draws for each of 16 test images."""
    y, _ = api.simulate(run, config, folder, "test", 16)
    began = time.process_time()
    found = api.restore(run, config, folder, y, method=method, samples=64)
    return {"seconds of 64 × 16": round(time.process_time() - began, 1), "evaluations of 64 × 16": found.evaluations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--operator", type=Path, required=True)
    parser.add_argument("--data", default="test", help="true items: a split of the run's data, or a file")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--samples", type=int, default=39)
    parser.add_argument("--seed", type=int, default=0, help="of items, noise and draws; others than 0 are kept apart")
    parser.add_argument("--method", action="append", help="[ddrm, pigdm, exact, tempering]")
    parser.add_argument("--evaluations", type=int, help="per draw [what suits the method]")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--priced", action="store_true", help="also 64 draws for each of 16 images")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run, config = api.load(asked.run), read_measurement(asked.operator)
    for method in asked.method or ["ddrm", "pigdm", "exact", "tempering"]:
        entry = f"{asked.run.name}, {asked.operator.stem}: {method}" + (f", seed {asked.seed}" if asked.seed else "")
        if asked.missing and entry in read("posterior_network"):
            continue
        found = api.calibrate(
            run,
            config,
            asked.operator.parent,
            method=method,
            source=asked.data,
            items=asked.items,
            samples=asked.samples,
            seed=asked.seed,
            evaluations=asked.evaluations or named_method(method).evaluations,
        )
        told = calibration_values(found)
        if asked.priced:
            told |= price(run, config, asked.operator.parent, method)
        keep("posterior_network", entry, told)
        print(entry, told, file=sys.stderr)


if __name__ == "__main__":
    main()
