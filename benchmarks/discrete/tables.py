"""Mixed tables: what synthetic rows of `--family mixed` are worth, beside independent columns and copies with noise.

Tables: scikit-learn's wine and breast cancer, one of their numbers cut into categories and their class as another, and
CSV files of the user's (for instance one of UCI's with categories). Columns, types and categories must come back.

    nice -n 10 .venv/bin/python benchmarks/discrete/tables.py [CSV …] [--minutes 10] [--uci UCI]

With --uci (a folder that holds `energy/data/data.txt`) the energy table too, its two codes written as categories.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from common import kept, verdict

import pushforward as pf
from pushforward.data.tables import delimiter_of
from pushforward.metrics.tables import Kinds, copied, evaluate_table, independent


def builtin(name, out):
    """A table of scikit-learn as a CSV whose class is a column of text, two numbers cut into categories."""
    from sklearn import datasets

    found = {"wine": datasets.load_wine, "breast_cancer": datasets.load_breast_cancer}[name]()
    path = out / f"{name}.csv"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        names = [str(n).replace(" ", "_") for n in found["feature_names"]]
        cuts = np.quantile(found["data"][:, 0], [0.25, 0.5, 0.75])
        sizes = np.array(["small", "medium", "large", "huge"])[np.searchsorted(cuts, found["data"][:, 0])]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*names[1:], f"{names[0]}_class", "target"])
            for row, size, target in zip(found["data"], sizes, found["target"], strict=True):
                writer.writerow([*(f"{value:.4g}" for value in row[1:]), size, found["target_names"][target]])
    return path


ENERGY = (
    "compactness", "surface", "walls", "roof", "height", "orientation", "glazing", "glazed_side", "heating_load",
)  # fmt: skip
SIDES = ("none", "all", "north", "east", "south", "west")


def energy(folder, out):
    """UCI's energy efficiency (Tsanas and Xifara 2012): 768 buildings, seven numbers and two categories."""
    path = out / "energy.csv"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        values = np.loadtxt(folder / "energy" / "data" / "data.txt")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(ENERGY)
            for row in values:
                told = [f"{value:.4g}" for value in row]
                told[5], told[7] = SIDES[int(row[5])], SIDES[int(row[7])]
                writer.writerow(told)
    return path


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        delimiter = delimiter_of(file.readline())
        file.seek(0)
        return [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter) if row]


def alike(real, made, coding):
    """Whether a written table has the columns of the real one, their categories and their types."""

    def fits(i):
        given, found = ({row[i] for row in rows[1:]} for rows in (real, made))
        kind = int if coding.dtypes[i] == "int64" else float
        return found <= given if i in coding.coded else all(kind(cell) == float(cell) for cell in found)

    return real[0] == made[0] and all(fits(i) for i in range(len(real[0])))


def run(path, args):
    config = pf.configure(
        "training.batch_size=128",
        "data.test=0.2",  # of 178 wines a tenth would be too few to compare with
        entries={"data": {"source": str(path)}, "model": {"family": "mixed"}},
    )
    found = pf.fit(str(path), args.out / f"run-{path.stem}", config, minutes=args.minutes, device="cpu")
    data, coding = found.data(), found.format.coding
    train, test = (np.asarray(split.values[:], dtype=np.float64) for split in (data.train, data.test))
    samples = found.generator.sample(len(train), seed=0)
    written = samples.save(args.out / f"{path.stem}-synthetic.csv")
    same = alike(rows_of(path), rows_of(written), coding)
    kinds = Kinds(np.isin(np.arange(train.shape[1]), coding.coded), coding.names)
    tables = {
        "mixed": samples.values,
        "independent columns": independent(train, len(train)),
        "copies with noise": copied(train, kinds.coded, len(train)),
    }
    last = train.shape[1] - 1  # what is predicted: the class, or the load
    scores = {
        name: {row.name: (row.value, row.floor) for row in evaluate_table(rows, train, test, kinds, target=last)}
        for name, rows in tables.items()
    }
    return {"columns": same, "rows": len(train), "scores": scores}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/discrete-tables"))
    parser.add_argument("--uci", type=Path)
    parser.add_argument("--builtin", nargs="*", default=["wine", "breast_cancer"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    written = [builtin(name, args.out) for name in args.builtin]
    if args.uci:
        written.append(energy(args.uci, args.out))
    for path in [*written, *args.files]:
        one = kept(args.out / "results.json", path.stem, lambda p=path: run(p, args))
        for name, rows in one["scores"].items():
            print(
                f"{path.stem}, {name}: " + ", ".join(f"{r} {v:.3g} ({f:.3g})" for r, (v, f) in rows.items()), flush=True
            )
        ours, alone = one["scores"]["mixed"], one["scores"]["independent columns"]
        good &= verdict(
            f"{path.stem}: pairs, share of independent columns'",
            ours["distance of pairs"][0],
            alone["distance of pairs"][0],
        )
        good &= verdict(f"{path.stem}: columns, types and categories come back", float(one["columns"]), 1.0, "above")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
