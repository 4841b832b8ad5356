"""Bits per dimension of held-out 8×8 digits under VAEs whose decoder gives probabilities to the 17 grey levels.

The split is that of `pushforward train digits`; a discretised logistic with a scale for each pixel, 16 latents; 2,000
steps of 64 images, the weights that validated best; −log₂ p(x)/64 by importance sampling with 500 draws per image, an
upper bound in expectation. No dequantisation: the bound is on the probability of the integers themselves.

    nice -n 10 .venv/bin/python benchmarks/vae/digits.py [--seeds 2] [--steps 2000] [--only conv]

Each run is stored as it ends in --out, and is not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path

import torch

from pushforward.data.sources import load
from pushforward.models.vae import vae
from pushforward.numerics.random import Draws
from pushforward.training import Recipe, find_checkpoint, fit, load_weights
from pushforward.vae import DiscretisedLikelihood, EachScale, Importance, VampPrior

SHAPE, LATENT, SAMPLES = (1, 8, 8), 16, 500


def models(items):
    """What is compared: constructors, so that each is built after its seed is set."""

    def made(**changes):
        return vae(SHAPE, likelihood=DiscretisedLikelihood(EachScale(), bins=17), **changes)

    return {
        "perceptron": lambda: made(latent=LATENT, hidden=(256, 256)),
        "perceptron, IWAE 5": lambda: made(latent=LATENT, hidden=(256, 256), bound=Importance(5)),
        "perceptron, VampPrior 100": lambda: made(latent=LATENT, hidden=(256, 256), prior=VampPrior(items[:100])),
        "conv": lambda: made(latent=LATENT, width=32),
    }


@torch.no_grad()
def bits(model, images):
    """−log₂ p(x)/64 of each image: (N,)."""
    model.eval()
    parts = [
        model.log_prob_bound(images[rows], None, Draws.of(0, rows, "score"), SAMPLES)[0]
        for rows in torch.arange(len(images)).split(90)
    ]
    return -torch.cat(parts) / (math.prod(SHAPE) * math.log(2))


def run(make, data, seed, steps):
    """Train one model and score its best weights on the test split."""
    torch.manual_seed(seed)
    model, began = make(), time.process_time()
    recipe = Recipe(batch_size=64, steps=steps, clip_norm=None, ema_lengths=(0.05,), seed=seed, device="cpu")
    with tempfile.TemporaryDirectory() as out:
        fit(model, data.train, data.validation, recipe, out, {})
        checkpoint = find_checkpoint(out)
        load_weights(model, checkpoint)
    trained = time.process_time() - began
    found = bits(model, data.test.all().values)
    return {
        "bits": float(found.mean()),
        "error": float(found.std() / len(found) ** 0.5),
        "train_bits": float(bits(model, data.train.all().values[:300]).mean()),
        "best_step": checkpoint.step,
        "train_seconds": trained,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def report(results):
    """A Markdown table: means over seeds and half the range."""
    lines = [
        "| model | parameters | test, bits/dim | 300 training images | best step | training, CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(entry["model"] for entry in results):
        rows = [entry for entry in results if entry["model"] == name]
        found = [row["bits"] for row in rows]
        means = [statistics.fmean(row[key] for row in rows) for key in ("train_bits", "best_step", "train_seconds")]
        spread = f" ± {(max(found) - min(found)) / 2:.3f} ({len(found)} seeds)" if len(found) > 1 else " (1 seed)"
        shown = f"{statistics.fmean(found):.3f}{spread}"
        lines.append(
            f"| {name} | {rows[0]['parameters']:,} | {shown} | {means[0]:.3f} | {means[1]:.0f} | {means[2]:.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/vae_digits.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = load("digits")
    results = json.loads(given.out.read_text()) if given.out.exists() else []
    for seed in range(given.seeds):
        for name, make in models(data.train.all().values).items():
            done = any((r["model"], r["seed"], r["steps"]) == (name, seed, given.steps) for r in results)
            if done or (given.only and name not in given.only):
                continue
            results.append({"model": name, "seed": seed, "steps": given.steps, **run(make, data, seed, given.steps)})
            given.out.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{name}, seed {seed}: {results[-1]}", flush=True)
    print(report(results))


if __name__ == "__main__":
    main()
