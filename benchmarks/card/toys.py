"""The toy tasks of the paper: CARD's law of the response drawn beside the true one, and the distance between them.

    OMP_NUM_THREADS=1 python benchmarks/card/toys.py --out results/card-toys --toys "full circle,linear"

For each toy: RMSE of the mean to the true mean, QICE with its floor, the total variation distance between 2,000 draws
and the true density in 40 bins at seven x, beside what 2,000 draws of the truth score. Of the full circle and the
inverse sinusoid also the weights of the modes. The pictures are one SVG page per toy. What is stored is skipped.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from store import stored

from data import TOYS, toy, toy_density
from pushforward.estimators import CARDRegressor, Usual
from pushforward.metrics.coverage import picp, qice, qice_floor
from pushforward.metrics.predictive import kernel_nll, rmse
from pushforward.report.svg import Axes, Series, line_chart

SHARES, DRAWS, BINS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95), 2000, 40


def measure(name: str, steps: int, out: Path) -> dict[str, Any]:
    """Train on 8,192 points, measure on 2,048."""
    x, y = toy(name)
    train, test = slice(0, 8192), slice(8192, None)
    began = time.process_time()
    model = CARDRegressor(setting=Usual(dropout=0.0, batch_size=256), steps=steps, n_samples=200).fit(
        x[train], y[train]
    )
    trained = time.process_time() - began
    law = model.predict_law(x[test], keep=True)
    assert law.samples is not None
    drawn = law.samples[:, :, 0]
    at = np.quantile(x[:, 0], SHARES)
    own = model.sample(at[:, None], DRAWS)
    found = {
        "rmse": rmse(y[test], drawn.mean(1)),
        "kernel_nll": float(kernel_nll(y[test], drawn).mean()),
        "nll": -float(model.log_prob(x[test], y[test]).mean()),
        "qice": qice(y[test], drawn),
        "floor": qice_floor(2048),
        "picp": picp(y[test], drawn, evenly=True),
        "train_s": trained,
    }
    distances, floors, pages = [], [], []
    for i, value in enumerate(at):
        low, high = min(own[i].min(), y.min()), max(own[i].max(), y.max())
        grid = np.linspace(low, high, BINS * 50)
        truth = toy_density(name, float(value), grid)
        edges = np.linspace(low, high, BINS + 1)
        share = truth.reshape(BINS, 50).sum(1) / truth.sum()
        counts = np.histogram(own[i], edges)[0] / DRAWS
        distances.append(0.5 * np.abs(counts - share).sum())
        perfect = np.random.default_rng(i).multinomial(DRAWS, share / share.sum()) / DRAWS
        floors.append(0.5 * np.abs(perfect - share).sum())
        middle, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        chart = line_chart(
            [
                Series("truth", grid.tolist(), truth.tolist()),
                Series("CARD", middle.tolist(), (counts / width).tolist()),
            ],
            Axes("y", "p(y | x)"),
            f"{name}, x = {value:.3g}",
            "The true law of the response and that of the draws.",
        )
        pages.append(f"<h2>{name}, x = {value:.3g}</h2>{chart}")
    found |= {"distance": float(np.mean(distances)), "distance_floor": float(np.mean(floors))}
    if name == "full circle":
        found["upper_share_at_0"] = float((model.sample([[0.0]], 4000) > 0).mean())
    if name == "inverse sinusoidal":
        found |= modes(model)
    (out / f"{name.replace(' ', '-')}.html").write_text("\n".join(pages), encoding="utf-8")
    return found


def modes(model: CARDRegressor, x: float = 0.5) -> dict[str, float]:
    """The share of draws in each of the three branches of the inverse sinusoid at x, and the true shares."""
    grid = np.linspace(0, 1, 4001)
    truth = toy_density("inverse sinusoidal", x, grid)
    inside = (grid > 0.05) & (grid < 0.95)
    low = inside & (truth < np.roll(truth, 1)) & (truth < np.roll(truth, -1))
    cuts = grid[low]
    drawn = model.sample([[x]], 4000).ravel()
    wanted = np.histogram(grid, [-1, *cuts, 2], weights=truth)[0] / truth.sum()
    share = np.histogram(drawn, [-1, *cuts, 2])[0] / len(drawn)
    return {f"{what}_{i}": float(v) for what, vs in (("mode", share), ("true_mode", wanted)) for i, v in enumerate(vs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", default=",".join(TOYS))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "card-toys")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    unknown = sorted(set(args.toys.split(",")) - set(TOYS))
    if unknown:
        parser.error(f"{unknown[0]!r} is none of {', '.join(TOYS)}")
    for name in args.toys.split(","):
        path = args.out / f"{name.replace(' ', '-')}.json"
        found = stored(path, partial(measure, name, args.steps, args.out))
        print(f"{name:<20} " + "  ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
