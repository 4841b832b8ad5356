"""Digits as images of 17 levels: discrete diffusion beside Gaussian diffusion of the dequantised pixels.

Both are trained for the same time on the split of `pushforward train digits`, and scored alike: Fréchet-like distance,
precision and recall over their floors, and bits per dimension (a bound of the probability of whole numbers; for the
Gaussian model the probability flow with uniform dequantisation).

    nice -n 10 .venv/bin/python benchmarks/discrete/digits.py [--minutes 20]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from common import kept

import pushforward as pf
from pushforward import api
from pushforward.report.evaluation import evaluate_generator

MODELS = {
    "discrete, masked": ("model.family=discrete",),
    "discrete, Gaussian rates": ("model.family=discrete", "model.rates=gaussian"),
    "diffusion, EDM": ("model.network=unet", "model.network.width=32", "model.network.blocks=1"),
}


def run(settings, args, out):
    config = pf.configure("training.batch_size=64", *settings, entries={"data": {"source": "digits"}})
    found = pf.fit("digits", out, config, minutes=args.minutes, device="cpu")
    places = None if "model.family=discrete" in settings else args.repeats  # its bound has 16 draws as it comes
    scores = api.likelihood(found, "test", repeats=places)
    judged = evaluate_generator(found.generator, found.data(), n=args.number)
    rows = {row.name: (row.value, row.floor) for row in judged}
    return {
        "bits": scores.bits(scores.mean),
        "error": abs(scores.bits(scores.error)),
        "rows": rows,
        "method": scores.method,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--number", type=int, default=700)
    parser.add_argument("--repeats", type=int, default=4, help="places within the cells of pixels")
    parser.add_argument("--out", type=Path, default=Path("runs/discrete-digits"))
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, settings in MODELS.items():
        if args.only not in name:
            continue
        place = args.out / name.replace(", ", "-").replace(" ", "-")
        one = kept(args.out / "results.json", name, lambda s=settings, p=place: run(s, args, p))
        shown = ", ".join(f"{row} {value:.3g} (floor {floor:.3g})" for row, (value, floor) in one["rows"].items())
        print(f"{name}: {one['bits']:.3f} ± {one['error']:.3f} bits/dim ({one['method']}); {shown}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
