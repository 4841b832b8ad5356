"""Held-out log-likelihood of our neural spline flow beside zuko's: same sizes, batches, optimiser and steps.

    OMP_NUM_THREADS=1 PYTHONPATH=src peers/bin/python benchmarks/flows/quality.py FOLDER [--steps 1500] [--seeds 0 1 2]

FOLDER holds the UCI sets in their published form (`<name>/data/data.txt`, `index_train_0.txt`, …). All columns
jointly, target included, split 0; the last tenth of the training rows validates. Columns whose numbers repeat are
spread uniformly over the cell of their last decimal; then all are standardised with moments of the training rows.
Log-likelihoods are nats per row in these units, of the weights that validated best.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import zuko
from torch import Tensor, nn

from pushforward.flows import nsf
from pushforward.numerics.random import Draws, key, permutation

SETS = ("power-plant", "protein-tertiary-structure", "kin8nm")
TRANSFORMS, HIDDEN, BINS = 5, (128, 128), 8
DISTINCT = 0.9
"""A column with a smaller share of distinct values than this is discrete."""

LogProb = Callable[[Tensor], Tensor]
Maker = Callable[[int], tuple[nn.Module, LogProb]]
HEAD = "data", "discrete columns", "parameters", "ours", "zuko", "gain per seed", "ours, last", "zuko, last", "s"


class Table(NamedTuple):
    """Rows of a data set, standardised, and the cells of its columns in these units (0: continuous)."""

    train: Tensor
    validation: Tensor
    test: Tensor
    cells: Tensor

    def spread(self, rows: Tensor, draws: Draws) -> Tensor:
        return rows + self.cells * (draws.uniform(rows.shape[1:]) - 0.5)


def read(folder: Path, name: str) -> Table:
    data = np.loadtxt(folder / name / "data" / "data.txt")
    train, test = (np.loadtxt(folder / name / "data" / f"index_{part}_0.txt", dtype=int) for part in ("train", "test"))
    cells = np.array([cell(column) for column in data.T])
    mean, std = data[train].mean(0), np.sqrt(data[train].var(0) + cells**2 / 12)
    rows = torch.tensor((data - mean) / std, dtype=torch.float32)
    known = torch.tensor(train)[permutation(key("validation", name), len(train))]
    held = len(known) // 10
    return Table(rows[known[held:]], rows[known[:held]], rows[torch.tensor(test)], torch.tensor(cells / std).float())


def cell(column: np.ndarray) -> float:
    """The unit of the last decimal of numbers that repeat, else 0."""
    if len(np.unique(column)) > DISTINCT * len(column):
        return 0.0
    decimals = next(k for k in range(12) if np.allclose(column, column.round(k), rtol=0, atol=1e-9))
    return 10.0**-decimals


def ours(d: int) -> tuple[nn.Module, LogProb]:
    flow = nsf(d, TRANSFORMS, HIDDEN)
    return flow, flow.log_prob


def zukos(d: int) -> tuple[nn.Module, LogProb]:
    flow = zuko.flows.NSF(d, 0, bins=BINS, transforms=TRANSFORMS, hidden_features=HIDDEN)
    return flow, lambda x: flow().log_prob(x)


def held_out(log_prob: LogProb, rows: Tensor) -> float:
    with torch.no_grad():
        return float(torch.cat([log_prob(part) for part in rows.split(2048)]).double().mean())


class Result(NamedTuple):
    """Nats per row on the test rows: of the weights that validated best, and of the last."""

    best: float
    last: float
    seconds: float
    parameters: int


def trained(
    make: Callable[[int], tuple[nn.Module, LogProb]], table: Table, steps: int, batch: int, seed: int
) -> Result:
    torch.manual_seed(seed)
    flow, log_prob = make(table.train.shape[1])
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    fixed = [table.spread(rows, Draws.of(0, range(len(rows)), "held out")) for rows in (table.validation, table.test)]
    best, began = (-np.inf, -np.inf), time.process_time()
    for step in range(steps):
        draws = Draws.of(seed, range(batch), "train").at(step)
        rows = table.train[draws.at("row").integers(len(table.train))]
        optimiser.zero_grad()
        (-log_prob(table.spread(rows, draws)).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % (steps // 10) == 0:
            best = max(best, (held_out(log_prob, fixed[0]), held_out(log_prob, fixed[1])))
    last = held_out(log_prob, fixed[1])
    return Result(best[1], last, time.process_time() - began, sum(p.numel() for p in flow.parameters()))


def shown(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="")
    parser.add_argument("--ours", action="store_true", help="ours alone, whose draws are those of a run beside zuko")
    args = parser.parse_args()
    torch.set_num_threads(1)
    missed = []
    print(
        "| data | discrete columns | parameters | ours | zuko | ours − zuko, per seed | ours, last | zuko, last | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in SETS:
        if args.only not in name:
            continue
        table = read(args.folder, name)
        makers = ours, zukos
        if args.ours:
            for seed in args.seeds:
                alone = trained(ours, table, args.steps, args.batch, seed)
                print(f"{name}, seed {seed}, ours: {alone.best:.4f}, last {alone.last:.4f}", flush=True)
            continue
        runs = [[trained(make, table, args.steps, args.batch, seed) for make in makers] for seed in args.seeds]
        mine, theirs = ([run[i].best for run in runs] for i in (0, 1))
        gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
        cells = [
            f"{int((table.cells > 0).sum())} of {len(table.cells)}",
            " / ".join(f"{run.parameters:,}" for run in runs[0]),
            shown(mine),
            shown(theirs),
            ", ".join(f"{gap:+.3f}" for gap in gaps),
            *(shown([run[i].last for run in runs]) for i in (0, 1)),
            " / ".join(f"{statistics.median(run[i].seconds for run in runs):.0f}" for i in (0, 1)),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        if statistics.mean(gaps) < 0:
            missed.append(name)
    for name in (name for name in SETS if args.only in name and not args.ours):
        print(f"{'MISS' if name in missed else 'ok'}: {name}, at least zuko's held-out log-likelihood")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
